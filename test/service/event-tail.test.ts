/** Many watchers of one tail: each event is one item for all, and what comes quickly comes to each in one piece. */
import { describe, expect, test } from "vitest";
import type { Event } from "../../src/domain/event.js";
import type { EventBounds, EventLog } from "../../src/ports/event-log.js";
import type { WorkspacePool } from "../../src/ports/lease-store.js";
import type { CallContext, WatchInput, WatchItem, WatchStep } from "../../src/service/services.js";
import { Watching } from "../../src/service/watching.js";
import { event } from "../rpc/in-memory-services.js";
import { until } from "../support/until.js";

/** A log in memory; the one in Postgres is met in the end-to-end tests. */
class MemoryLog implements EventLog {
  readonly events: Event[] = [];

  append(count: number): void {
    for (let i = 0; i < count; i += 1) this.events.push(event(BigInt(this.events.length + 1)));
  }

  async publish(): Promise<EventBounds> {
    return { oldest: 1n, newest: BigInt(this.events.length) };
  }

  async read(revision: bigint, limit: number): Promise<readonly Event[]> {
    return this.events.slice(Number(revision) - 1, Number(revision) - 1 + limit);
  }

  async trim(): Promise<number> {
    return 0;
  }
}

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const empty: WorkspacePool["list"] = async () => ({ workspaces: [], revision: 0n });
const filter = {};

function watching(log: EventLog, bookmarkMs = 60_000) {
  const draining = new AbortController();
  const pool = { list: empty } as WorkspacePool;
  const deps = {
    events: log,
    pool,
    storeId: "store",
    draining: draining.signal,
    log: silent,
    bookmarkMs,
    maxBehind: 50,
  };
  return { service: new Watching(deps), draining };
}

function open(
  service: Watching,
  signal: AbortSignal = new AbortController().signal,
  more: Partial<WatchInput> = {},
): AsyncIterator<WatchStep> {
  const call: CallContext = { caller: { name: "", role: "admin" }, signal, arrival: 0, timeLeftMs: () => undefined };
  const input = { filter, fromRevision: undefined, includeSnapshot: false, untilNow: false, storeId: "", ...more };
  return service.watch(input, call)[Symbol.asyncIterator]();
}

const itemsOf = (step: WatchStep): readonly WatchItem[] => ("kind" in step ? [step] : step);

describe("G5 many watchers of one tail", () => {
  test("are given the very same item of an event", async () => {
    const log = new MemoryLog();
    const { service } = watching(log);
    const watchers = [open(service), open(service)];
    for (const watcher of watchers) await watcher.next();
    const pending = watchers.map((watcher) => watcher.next());
    log.append(1);
    await service.tail.look();
    const [one, two] = await Promise.all(pending);
    expect(itemsOf(one?.value)[0]).toMatchObject({ kind: "event", revision: 1n, storeId: "store" });
    expect(itemsOf(one?.value)[0]).toBe(itemsOf(two?.value)[0]);
  });

  test("are given in one piece what comes in quick succession, all of it and in order", async () => {
    const log = new MemoryLog();
    const { service } = watching(log);
    const watcher = open(service);
    await watcher.next();
    const pieces: (readonly WatchItem[])[] = [];
    const seen = () => pieces.flat().map(({ revision }) => Number(revision));
    const reading = (async () => {
      while (seen().length < 30) pieces.push(itemsOf((await watcher.next()).value));
    })();
    for (let i = 0; i < 30; i += 1) {
      log.append(1);
      await service.tail.look();
    }
    await reading;
    expect(seen()).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
    expect(pieces.length).toBeLessThan(10);
  });

  test("end when the server drains, also those that wait, and one that comes too late", async () => {
    const { service, draining } = watching(new MemoryLog());
    const waiting = open(service);
    await waiting.next();
    const pending = waiting.next();
    draining.abort();
    await expect(pending).rejects.toMatchObject({ reason: "DRAINING" });
    await expect(open(service).next()).rejects.toMatchObject({ reason: "DRAINING" });
  });

  test("leave nothing behind when their callers go, at once", async () => {
    const { service } = watching(new MemoryLog());
    const gone = new AbortController();
    const watcher = open(service, gone.signal);
    await watcher.next();
    const pending = watcher.next();
    await until("it follows", () => service.tail.isFollowed);
    gone.abort();
    expect((await pending).done).toBe(true);
    expect(service.tail.isFollowed).toBe(false);
  });

  test("are told by bookmarks that nothing happens", async () => {
    const { service } = watching(new MemoryLog(), 20);
    const watcher = open(service);
    await watcher.next();
    expect((await watcher.next()).value).toMatchObject({ kind: "bookmark", revision: 0n });
  });

  test("are told by bookmarks how far they are while all that they read is hidden from them", async () => {
    const log = new MemoryLog();
    log.append(2_000);
    const { service } = watching(log, 0);
    const hidden = { filter: { workspaceId: "w999" }, fromRevision: 1n };
    const watcher = open(service, undefined, hidden);
    await watcher.next();
    const revisions: bigint[] = [];
    while (revisions.at(-1) !== 2_000n) {
      const step = (await watcher.next()).value;
      expect(step).toMatchObject({ kind: "bookmark" });
      revisions.push(step.revision);
    }
    expect(revisions).toEqual([500n, 1_000n, 1_500n, 2_000n]);
  });

  test("that do not read are cut off with the revision to go on from, and nobody else is", async () => {
    const log = new MemoryLog();
    const { service } = watching(log);
    const [slow, quick] = [open(service), open(service)];
    await slow.next();
    await quick.next();
    log.append(1);
    await service.tail.look();
    await slow.next();
    let seen = itemsOf((await quick.next()).value).length;
    while (seen < 200) {
      log.append(20);
      await service.tail.look();
      seen += itemsOf((await quick.next()).value).length;
    }
    await expect(slow.next()).rejects.toMatchObject({ reason: "WATCH_TOO_SLOW", metadata: { next_revision: "2" } });
  });
});
