/** Watch over real streams: what it begins with, what it goes on with, and how it ends. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import { type Event, EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import type { WatchRequestSchema, WatchResponse } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Sql } from "../../src/postgres/client.js";
import { Traffic } from "../support/holders.js";
import { Client, isPassing, readRefusal, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

type WatchFields = MessageInitShape<typeof WatchRequestSchema>;

const servers = useServers();
let server: ServerProcess;
let client: Client;
let sql: Sql;
let root: string;
/** A stream whose filter hides everything, open since the beginning of the file. */
let hidden: AsyncIterator<WatchResponse>;
let hiddenSince: number;

beforeAll(async () => {
  root = await servers.directory();
  const databaseUrl = await servers.database();
  server = await servers.start({ databaseUrl });
  client = server.client;
  sql = servers.sql(databaseUrl);
});

async function register(name: string, on: ServerProcess = server): Promise<void> {
  const { url } = await Upstream.make(root, name);
  await on.client.admin.registerRepository({ repository: { name, url } });
}

function open(fields: WatchFields, on: Client = client): AsyncIterator<WatchResponse> {
  return on.workspaces.watch(fields)[Symbol.asyncIterator]();
}

async function next(stream: AsyncIterator<WatchResponse>): Promise<WatchResponse> {
  const { value, done } = await stream.next();
  if (done) throw new Error("the stream has ended");
  return value;
}

/** Reads until an event satisfies; answers all up to it. */
async function eventsUntil(stream: AsyncIterator<WatchResponse>, last: (event: Event) => boolean): Promise<Event[]> {
  const events: Event[] = [];
  for (;;) {
    const { item } = await next(stream);
    if (item.case !== "event") continue;
    events.push(item.value);
    if (last(item.value)) return events;
  }
}

it("G5 a stream begins with the snapshot that was asked for, then one marker, then what happens", async () => {
  await register("watched");
  const mine = await client.acquire({ repository: "watched", holder: "me" });
  const other = await client.acquire({ repository: "watched", holder: "another" });
  const stream = open({ repository: "watched", includeSnapshot: true });
  const snapshot = [await next(stream), await next(stream)];
  expect(snapshot.map(({ item }) => item.case === "snapshot" && item.value.lease?.leaseId).sort()).toEqual(
    [mine.leaseId, other.leaseId].sort(),
  );
  const end = await next(stream);
  expect(end.item).toMatchObject({ case: "snapshotEnd", value: { workspaces: 2 } });
  expect(snapshot.every(({ revision }) => revision === end.revision)).toBe(true);
  await client.release(mine);
  const events = await eventsUntil(stream, ({ kind }) => kind === EventKind.WORKSPACE_READY);
  const news = events.filter(({ workspaceId }) => workspaceId === mine.workspaceId);
  const known = snapshot.flatMap(({ item }) => (item.case === "snapshot" ? item.value : []));
  const version = known.find(({ workspaceId }) => workspaceId === mine.workspaceId)?.version ?? 0n;
  expect(news.filter((event) => event.version > version)).toMatchObject([
    { kind: EventKind.LEASE_ENDED, holder: "me", leaseId: mine.leaseId, state: WorkspaceState.CLEANING },
    { kind: EventKind.WORKSPACE_READY, previousState: WorkspaceState.CLEANING, state: WorkspaceState.IDLE },
  ]);
  await stream.return?.();
  await client.release(other);
});

it("G5 a filter shows what matches and nothing else, and until_now ends at the newest event", async () => {
  await register("filtered");
  const held = await client.acquire({ repository: "filtered", holder: "one" });
  await client.release(held);
  await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  const byHolder = await client.events(1n, { holder: "one" });
  expect(byHolder.map(({ kind }) => kind)).toEqual([EventKind.LEASE_ACQUIRED, EventKind.LEASE_ENDED]);
  expect(await client.events(1n, { leaseId: held.leaseId })).toEqual(byHolder);
  const byRepository = await client.events(1n, { repository: "filtered" });
  // how often a mirror's progress is told depends on the upstream
  const transitions = byRepository.filter(({ kind }) => kind !== EventKind.MIRROR_PROGRESS);
  expect(transitions.map(({ kind }) => kind)).toEqual([
    EventKind.REPOSITORY_REGISTERED,
    EventKind.REPOSITORY_READY,
    EventKind.WORKSPACE_CREATED,
    EventKind.LEASE_ACQUIRED,
    EventKind.LEASE_ENDED,
    EventKind.WORKSPACE_READY,
  ]);
  const ends = await client.events(1n, { repository: "filtered", kinds: [EventKind.LEASE_ENDED] });
  expect(ends.map(({ revision }) => revision)).toEqual([byHolder[1]?.revision]);
  const { newestRevision } = await client.admin.getServerInfo({});
  expect(await client.events(newestRevision + 1n)).toEqual([]);
  // a list and a watch from its revision on miss nothing
  const list = await client.workspaces.listActive({ repository: "filtered", states: [WorkspaceState.IDLE] });
  const again = await client.acquire({ repository: "filtered", holder: "two" });
  const since = await client.events(list.revision + 1n, { kinds: [EventKind.LEASE_ACQUIRED] });
  expect(since.map(({ leaseId }) => leaseId)).toEqual([again.leaseId]);
  await client.release(again);
});

it("G5 a revision that is gone, not yet written, or of another store is refused with what there is", async () => {
  hidden = open({ repository: "nothing-at-all" });
  expect((await next(hidden)).item.case).toBe("snapshotEnd");
  hiddenSince = performance.now();
  const { newestRevision, storeId } = await client.admin.getServerInfo({});
  const watch = (fields: WatchFields) => refusal(open(fields).next());
  expect(await watch({ fromRevision: newestRevision + 100n })).toMatchObject({
    code: Code.OutOfRange,
    reason: "REVISION_FUTURE",
    metadata: { oldest_revision: "1" },
  });
  expect(await watch({ fromRevision: 1n, storeId: "0".repeat(8) })).toMatchObject({
    code: Code.FailedPrecondition,
    reason: "STORE_CHANGED",
    metadata: { store_id: storeId },
  });
  expect(await watch({ fromRevision: 1n, includeSnapshot: true })).toMatchObject({ fields: ["include_snapshot"] });
  expect(await watch({ fromRevision: 0n })).toMatchObject({ fields: ["from_revision"] });
  await sql`update events set event_time = clock_timestamp() - interval '8 days' where revision <= 5`;
  const compacted = await until("old events are forgotten", async () => {
    const refused = await watch({ fromRevision: 5n, untilNow: true }).catch(() => undefined);
    return refused?.reason === "REVISION_COMPACTED" && refused;
  });
  expect(compacted).toMatchObject({ code: Code.OutOfRange, metadata: { oldest_revision: "6" } });
  expect((await client.events(6n))[0]?.revision).toBe(6n);
});

it("G5 a reader that falls behind is cut off with the revision to resume from, and resumes without a gap", async () => {
  const slow = new Client(() => server.address);
  servers.atEnd(() => slow.close());
  const { newestRevision } = await client.admin.getServerInfo({});
  const stream = open({ fromRevision: newestRevision + 1n, host: "flood" }, slow);
  await next(stream);
  await sql`insert into outbox (kind, host, detail) select 'HOST_JOINED', 'flood', repeat('x', 1000) from generate_series(1, 20000)`;
  await until("the flood is published", async () => {
    const info = await client.admin.getServerInfo({});
    return info.newestRevision >= newestRevision + 20_000n;
  });
  let last = newestRevision;
  const refused = await refusal(
    (async () => {
      for (;;) {
        const { item, revision } = await next(stream);
        if (item.case === "event") expect(revision).toBeGreaterThan(last);
        last = revision;
      }
    })(),
  );
  expect(refused).toMatchObject({ code: Code.ResourceExhausted, reason: "WATCH_TOO_SLOW" });
  expect(refused.metadata.next_revision).toBe(String(last + 1n));
  expect(last).toBeLessThan(newestRevision + 15_000n);
  const rest = await client.events(last + 1n, { host: "flood" });
  expect(rest[0]?.revision).toBe(last + 1n);
  expect(rest.at(-1)?.revision).toBeGreaterThanOrEqual(newestRevision + 20_000n);
});

it("G5 a reader whose next revision was forgotten while it was slow is told so, and does not keep the server busy", async () => {
  const databaseUrl = await servers.database();
  const old = servers.sql(databaseUrl);
  await old`insert into outbox (kind, host, detail) select 'HOST_JOINED', 'flood', repeat('x', 5000) from generate_series(1, 4000)`;
  const forgetful = await servers.start({ databaseUrl });
  const stream = open({ fromRevision: 1n }, forgetful.client);
  await eventsUntil(stream, ({ revision }) => revision === 10n);
  await old`with gone as (delete from events) update meta set oldest_revision = newest_revision + 1`;
  const refused = await refusal(eventsUntil(stream, () => false));
  expect(refused).toMatchObject({ code: Code.OutOfRange, reason: "REVISION_COMPACTED" });
  await forgetful.stop();
});

describe("restarts", () => {
  it("F7 G5 a watcher that resumes across kill -9 and restarts misses nothing and sees nothing twice", async () => {
    const databaseUrl = await servers.database();
    const restarted = await servers.start({ databaseUrl });
    await register("restarted", restarted);
    const seen: Event[] = [];
    const ends: string[] = [];
    let stop = false;
    const watcher = (async () => {
      while (!stop) {
        try {
          const fromRevision = (seen.at(-1)?.revision ?? 0n) + 1n;
          for await (const { item } of restarted.client.workspaces.watch({ fromRevision })) {
            if (item.case === "event") seen.push(item.value);
            if (stop) break;
          }
        } catch (error) {
          if (!isPassing(error)) throw error;
          ends.push(readRefusal(error).reason);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    })();
    const traffic = new Traffic({ repository: "restarted", holders: 4, clients: [restarted.client] });
    await traffic.progress(4);
    await restarted.kill9();
    await restarted.start();
    await traffic.progress(4);
    await restarted.stop();
    await restarted.start();
    await traffic.progress(4);
    await traffic.stop();
    const all = await restarted.client.events(1n);
    await until("the watcher has seen them all", () => seen.length >= all.length);
    stop = true;
    expect(seen.slice(0, all.length)).toEqual(all);
    expect(seen.map(({ revision }) => revision)).toEqual(seen.map((_, index) => BigInt(index) + 1n));
    expect(ends).toContain("DRAINING");
    await restarted.stop();
    await watcher;
  }, 90_000);
});

it("G5 a bookmark moves the revision on after 15 s of silence, whatever the filter hides", async () => {
  const { newestRevision } = await client.admin.getServerInfo({});
  const bookmark = await next(hidden);
  expect(bookmark.item.case).toBe("bookmark");
  expect(performance.now() - hiddenSince).toBeGreaterThan(14_000);
  expect(bookmark.revision).toBeGreaterThan(0n);
  // one that was sent before the last events is followed by one that tells of them
  const latest = bookmark.revision >= newestRevision ? bookmark : await next(hidden);
  expect(latest.revision).toBeGreaterThanOrEqual(newestRevision);
  await hidden.return?.();
}, 60_000);
