import { create } from "@bufbuild/protobuf";
import { Code, type HandlerContext } from "@connectrpc/connect";
import { expect, test } from "vitest";
import {
  type WatchRequest,
  type WatchResponse,
  WatchResponseSchema,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { connect, type WatchItem, type WatchOptions } from "../../src/client/index.js";
import { draining, failure, type ScriptedServer, serveScript, workspaceOf } from "../support/scripted-server.js";

/** A log of `newest` events that streams as the real server does; `breaks` decides what becomes of one stream. */
class ScriptedLog {
  readonly requests: WatchRequest[] = [];
  newest = 10n;
  storeId = "store-a";
  snapshot = ["w1", "w2", "w3"];
  /** Called before each item of the stream with this number, from 1; may throw, or cut connections. */
  before: (stream: number, item: WatchResponse["item"]["case"], revision: bigint) => void | Promise<void> = () => {};
  opens: (stream: number, request: WatchRequest) => void = () => {};

  async *stream(request: WatchRequest, context: HandlerContext): AsyncGenerator<WatchResponse> {
    const stream = this.requests.push(request);
    this.opens(stream, request);
    const from = request.fromRevision ?? this.newest + 1n;
    const at = (revision: bigint, item: WatchResponse["item"]) =>
      create(WatchResponseSchema, { revision, storeId: this.storeId, item });
    const items = [
      ...(request.includeSnapshot ? this.snapshot : []).map((id) =>
        at(from - 1n, { case: "snapshot", value: { ...workspaceOf("/w"), workspaceId: id } }),
      ),
      at(from - 1n, { case: "snapshotEnd", value: { workspaces: 0 } as never }),
    ];
    for (const item of items) {
      await this.before(stream, item.item.case, item.revision);
      yield item;
    }
    for (let revision = from; ; revision++) {
      while (revision > this.newest) {
        if (request.untilNow) return;
        await new Promise((resolve) => setTimeout(resolve, 5));
        context.signal.throwIfAborted();
      }
      await this.before(stream, "event", revision);
      yield at(revision, { case: "event", value: { revision } as never });
    }
  }
}

async function withLog(
  log: ScriptedLog,
  body: (server: ScriptedServer, watch: (options?: WatchOptions) => AsyncIterable<WatchItem>) => Promise<void>,
) {
  await using server = await serveScript({ watch: (request, context) => log.stream(request, context) });
  using client = connect({ address: server.address });
  await body(server, (options) => client.watch(options));
}

/** Short forms of the first `count` items. */
async function take(stream: AsyncIterable<WatchItem>, count: number): Promise<string[]> {
  const taken: string[] = [];
  for await (const item of stream) {
    taken.push(
      item.type === "snapshot"
        ? item.workspace.workspaceId
        : item.type === "restart"
          ? `restart ${item.reason}`
          : `${item.type} ${item.revision}`,
    );
    if (taken.length === count) break;
  }
  return taken;
}

const events = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => `event ${first + index}`);

test("F7 a stream that is cut, again and again, misses and repeats nothing", async () => {
  const log = new ScriptedLog();
  await withLog(log, async (server, watch) => {
    const seen: bigint[] = [];
    for await (const item of watch({ fromRevision: 1n })) {
      seen.push(item.revision);
      if (item.revision === 40n) break;
      // Some events are always on their way, or not yet made, when the connection breaks.
      log.newest = item.revision + 3n;
      if (item.revision % 7n === 0n) server.cut();
    }
    expect(seen).toEqual(Array.from({ length: 40 }, (_, index) => BigInt(index + 1)));
    expect(log.requests.length).toBeGreaterThan(4);
    expect(log.requests.at(-1)?.storeId).toBe("store-a");
  });
});

test("F7 a stream goes on where it was after its server was down", async () => {
  const log = new ScriptedLog();
  await withLog(log, async (server, watch) => {
    let down: Promise<void> | undefined;
    log.before = (stream, item, revision) => {
      if (stream === 1 && item === "event" && revision === 4n) {
        down = server.stop();
        throw draining();
      }
    };
    const options = { fromRevision: 1n, onRetry: () => void down?.then(() => server.start()).catch(() => undefined) };
    expect(await take(watch(options), 10)).toEqual(events(1, 10));
  });
});

test("F7 a reader that was too slow, and one whose server drains, go on where they were", async () => {
  const log = new ScriptedLog();
  const retried: string[] = [];
  await withLog(log, async (_, watch) => {
    log.before = (stream, item, revision) => {
      if (item !== "event") return;
      if (stream === 1 && revision === 3n) throw failure("WATCH_TOO_SLOW", Code.ResourceExhausted);
      if (stream === 2 && revision === 6n) throw draining();
    };
    const onRetry: WatchOptions["onRetry"] = (error) => retried.push(error.reason);
    expect(await take(watch({ fromRevision: 1n, onRetry }), 10)).toEqual(events(1, 10));
    expect(retried).toEqual(["WATCH_TOO_SLOW", "DRAINING"]);
    expect(log.requests.map(({ fromRevision }) => fromRevision)).toEqual([1n, 3n, 6n]);
  });
});

test("F7 a snapshot is followed by exactly the events after it, across a break", async () => {
  const log = new ScriptedLog();
  await withLog(log, async (_, watch) => {
    log.before = (stream, item) => {
      if (item === "snapshotEnd") log.newest = 13n;
      if (stream === 1 && item === "event") throw draining();
    };
    expect(await take(watch({ includeSnapshot: true }), 7)).toEqual([
      "w1",
      "w2",
      "w3",
      "snapshotEnd 10",
      ...events(11, 13),
    ]);
    expect(log.requests.map(({ includeSnapshot }) => includeSnapshot)).toEqual([true, false]);
  });
});

test("a stream without a beginning resumes after the marker, although no event had come", async () => {
  const log = new ScriptedLog();
  await withLog(log, async (server, watch) => {
    log.opens = (stream) => {
      if (stream === 1) {
        setTimeout(() => {
          log.newest = 12n;
          server.cut();
        }, 50);
        log.before = (at, item) => {
          if (at === 1 && item === "event") throw draining();
        };
      }
    };
    expect(await take(watch(), 3)).toEqual(["snapshotEnd 10", ...events(11, 12)]);
    expect(log.requests[1]?.fromRevision).toBe(11n);
  });
});

test.each([
  ["REVISION_COMPACTED", Code.OutOfRange],
  ["STORE_CHANGED", Code.FailedPrecondition],
  ["REVISION_FUTURE", Code.OutOfRange],
] as const)(
  "%s ends a stream of events, and begins one with a snapshot anew, in so many words",
  async (reason, code) => {
    const log = new ScriptedLog();
    await withLog(log, async (_, watch) => {
      log.before = (stream, item) => {
        if (stream === 1 && item === "event") throw draining();
      };
      log.opens = (stream) => {
        if (stream !== 2) return;
        log.storeId = "store-b";
        log.snapshot = ["w9"];
        log.newest = 5n;
        throw failure(reason, code);
      };
      await expect(take(watch({ fromRevision: 1n }), 20)).rejects.toMatchObject({ reason, metadata: {} });

      Object.assign(log, { requests: [], snapshot: ["w1"], newest: 10n, storeId: "store-a" });
      const { before } = log;
      log.before = (stream, item, revision) => {
        if (item === "snapshotEnd") log.newest++;
        return before(stream, item, revision);
      };
      expect(await take(watch({ includeSnapshot: true }), 6)).toEqual([
        "w1",
        "snapshotEnd 10",
        `restart ${reason}`,
        "w9",
        "snapshotEnd 5",
        "event 6",
      ]);
      expect(log.requests[2]).toMatchObject({ includeSnapshot: true, storeId: "" });
    });
  },
);

test("a snapshot that breaks off is announced as void before it begins again", async () => {
  const log = new ScriptedLog();
  await withLog(log, async (_, watch) => {
    let items = 0;
    log.before = (stream) => {
      if (stream === 1 && ++items === 3) throw draining();
    };
    expect(await take(watch({ includeSnapshot: true }), 7)).toEqual([
      ...["w1", "w2", "restart DRAINING"],
      ...["w1", "w2", "w3", "snapshotEnd 10"],
    ]);
  });
});

test("until-now ends the stream; a reader's signal ends it with its reason; one that leaves is seen to leave", async () => {
  const log = new ScriptedLog();
  await withLog(log, async (_, watch) => {
    expect(await take(watch({ fromRevision: 8n, untilNow: true }), 99)).toEqual(events(8, 10));

    const abort = new AbortController();
    const reading = take(watch({ fromRevision: 1n, signal: abort.signal }), 99);
    log.before = (_stream, item, revision) => {
      if (item === "event" && revision === 9n) abort.abort(new Error("seen enough"));
    };
    await expect(reading).rejects.toThrow("seen enough");
  });
  let left = () => {};
  const leaves = new Promise<void>((resolve) => {
    left = resolve;
  });
  await using server = await serveScript({
    async *watch(request, context) {
      context.signal.addEventListener("abort", left);
      yield* new ScriptedLog().stream(request, context);
    },
  });
  using client = connect({ address: server.address });
  await take(client.watch({ fromRevision: 1n }), 2);
  await leaves;
});

test("the filters are asked for as they were given", async () => {
  const log = new ScriptedLog();
  await withLog(log, async (_, watch) => {
    const filters = { repository: "demo", holder: "me", host: "here", workspaceId: "w17", leaseId: "w17.4" };
    await take(
      watch({ ...filters, kinds: ["LEASE_ACQUIRED", "LEASE_ENDED"], fromRevision: 1n, storeId: "store-a" }),
      1,
    );
    expect(log.requests[0]).toMatchObject({ ...filters, kinds: [3, 4], fromRevision: 1n, storeId: "store-a" });
  });
});
