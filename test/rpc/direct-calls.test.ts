/** The short way of plain gRPC calls: told apart from connect's way by nothing that a caller sees. */
import * as http2 from "node:http2";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HealthCheckRequestSchema } from "../../gen/health/v1/health_pb.js";
import {
  AcquireRequestSchema,
  GetWorkspaceRequestSchema,
  HeartbeatRequestSchema,
  WatchRequestSchema,
  WorkspaceService,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { fromWatchItem, watchEnvelopes } from "../../src/rpc/convert/convert-watch.js";
import type { WatchItem, WatchStep } from "../../src/service/services.js";
import { until } from "../support/until.js";
import { protocols } from "./clients.js";
import { type Asked, event } from "./in-memory-services.js";
import { RunningServer } from "./running-server.js";

let running: RunningServer;
let session: http2.ClientHttp2Session;
const maxBytes = 100_000;
beforeEach(async () => {
  running = await RunningServer.start({ readMaxBytes: maxBytes });
  session = http2.connect(running.url);
  session.on("error", () => {});
});
afterEach(async () => {
  session.destroy();
  await running[Symbol.asyncDispose]();
});

/** Both are gRPC's; only the first is served without connect. */
const ways = { direct: "application/grpc", connect: "application/grpc+PROTO" } as const;

interface Answer {
  readonly head: Record<string, unknown>;
  readonly trailer: Record<string, unknown>;
  readonly body: string;
}

function call(path: string, body: Uint8Array, headers: http2.OutgoingHttpHeaders): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": "POST", ":path": path, te: "trailers", ...headers });
    const answer: Answer = { head: {}, trailer: {}, body: "" };
    const chunks: Buffer[] = [];
    stream.on("response", ({ date: _date, ...head }) => Object.assign(answer.head, head));
    stream.on("trailers", (trailer) => Object.assign(answer.trailer, trailer));
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("end", () => resolve({ ...answer, body: Buffer.concat(chunks).toString("hex") }));
    stream.end(body);
  });
}

function frame(message: Uint8Array, flags = 0): Buffer {
  const head = Buffer.from([flags, 0, 0, 0, 0]);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function framed<D extends DescMessage>(desc: D, init: MessageInitShape<D>): Buffer {
  return frame(toBinary(desc, create(desc, init)));
}

const service = "/leasehold.v1.WorkspaceService";
const known = framed(GetWorkspaceRequestSchema, { workspaceId: "w17" });
const fixed = { "x-request-id": "same" };

const calls: Record<string, { path: string; body: Uint8Array; headers?: http2.OutgoingHttpHeaders }> = {
  "that succeeds": { path: `${service}/GetWorkspace`, body: known },
  "that names its compression as none": {
    path: `${service}/GetWorkspace`,
    body: known,
    headers: { "grpc-encoding": "identity" },
  },
  "of health": { path: "/grpc.health.v1.Health/Check", body: framed(HealthCheckRequestSchema, {}) },
  "of a service that health does not know": {
    path: "/grpc.health.v1.Health/Check",
    body: framed(HealthCheckRequestSchema, { service: "x" }),
  },
  "that is refused by the service": {
    path: `${service}/GetWorkspace`,
    body: framed(GetWorkspaceRequestSchema, { workspaceId: "w99" }),
  },
  "that meets a defect": {
    path: `${service}/GetWorkspace`,
    body: framed(GetWorkspaceRequestSchema, { workspaceId: "w500" }),
  },
  "with wrong fields": { path: `${service}/Heartbeat`, body: framed(HeartbeatRequestSchema, {}) },
  "without a message": { path: `${service}/GetWorkspace`, body: Buffer.alloc(0) },
  "with two messages": { path: `${service}/GetWorkspace`, body: Buffer.concat([known, known]) },
  "with half a head": { path: `${service}/GetWorkspace`, body: known.subarray(0, 3) },
  "with half a message": { path: `${service}/GetWorkspace`, body: known.subarray(0, -1) },
  "with bytes that are no message": { path: `${service}/GetWorkspace`, body: frame(Buffer.from("ffffff", "hex")) },
  "with a message that says to be compressed and is not": {
    path: `${service}/GetWorkspace`,
    body: frame(known.subarray(5), 1),
  },
  "with a message that is too large": { path: `${service}/GetWorkspace`, body: frame(Buffer.alloc(maxBytes + 1)) },
  "with a compression that nobody knows": {
    path: `${service}/GetWorkspace`,
    body: known,
    headers: { "grpc-encoding": "zip" },
  },
  "with a deadline that is none": { path: `${service}/GetWorkspace`, body: known, headers: { "grpc-timeout": "soon" } },
  "with a deadline of more than a timer can": {
    path: `${service}/GetWorkspace`,
    body: known,
    headers: { "grpc-timeout": "99999999H" },
  },
  "whose deadline has passed": { path: `${service}/GetWorkspace`, body: known, headers: { "grpc-timeout": "0m" } },
  "from a page of another site": {
    path: `${service}/GetWorkspace`,
    body: known,
    headers: { origin: "http://evil.example" },
  },
  "to an authority of elsewhere": {
    path: `${service}/GetWorkspace`,
    body: known,
    headers: { ":authority": "evil.example" },
  },
  "to an authority that is none": {
    path: `${service}/GetWorkspace`,
    body: known,
    headers: { ":authority": "x:99999" },
  },
  "of a method that there is none of": { path: `${service}/Nothing`, body: known },
  "with another verb": { path: `${service}/GetWorkspace`, body: known, headers: { ":method": "PUT" } },
  "that streams until now": { path: `${service}/Watch`, body: framed(WatchRequestSchema, { untilNow: true }) },
  "that streams, with wrong fields": {
    path: `${service}/Watch`,
    body: framed(WatchRequestSchema, { fromRevision: -1n }),
  },
  "that streams, without a message": { path: `${service}/Watch`, body: Buffer.alloc(0) },
  "that streams, with two messages": {
    path: `${service}/Watch`,
    body: Buffer.concat([frame(Buffer.alloc(0)), frame(Buffer.alloc(0))]),
  },
};

describe("F2 a call over plain gRPC", () => {
  test.each(Object.entries(calls))("%s is answered as connect answers it", async (_name, { path, body, headers }) => {
    const type = path.endsWith("Nothing") ? ways.direct : ways.connect;
    const direct = await call(path, body, { "content-type": ways.direct, ...fixed, ...headers });
    await until("the call is over", () => running.server.running.unary + running.server.running.streams === 0);
    const connect = await call(path, body, { "content-type": type, ...fixed, ...headers });
    expect(direct).toEqual(connect);
    const [first, second] = running.lines.map(({ time: _time, duration_ms: _duration, err: _err, ...line }) => line);
    if (running.lines.length === 2) expect(first).toEqual(second);
    expect([0, 2, 4]).toContain(running.lines.length);
  });

  test("goes the short way, and only that one does", async () => {
    const reasons: unknown[] = [];
    for (const type of Object.values(ways)) {
      await call(`${service}/GetWorkspace`, known, { "content-type": type });
      const { signal } = (running.services.asked.at(-1) as Asked).call;
      await until("the signal tells that the call is over", () => signal.aborted);
      reasons.push((signal.reason as Error).message);
    }
    expect(reasons[0]).toContain("the call is over");
    expect(reasons[1]).not.toContain("the call is over");
  });

  test("that takes longer than its deadline is answered in time, though its handler goes on", async () => {
    running.services.beforeAcquire = () => new Promise(() => {});
    const body = framed(AcquireRequestSchema, { repository: "demo" });
    const headers = { "content-type": ways.direct, "grpc-timeout": "100m" };
    const { trailer } = await call(`${service}/Acquire`, body, headers);
    expect(trailer["grpc-status"]).toBe("4");
    expect(running.services.asked[0]?.call.signal.aborted).toBe(true);
  });

  test("whose caller vanishes half way through its message is over at once", async () => {
    const stream = session.request({ ":method": "POST", ":path": `${service}/Acquire`, "content-type": ways.direct });
    stream.on("error", () => {});
    stream.write(known.subarray(0, 4));
    await until("the call has arrived", () => running.server.running.unary === 1);
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await until("it is over", () => running.server.running.unary === 0);
    expect(running.services.asked).toEqual([]);
  });

  test("whose message never ends is broken off", async () => {
    await using hasty = await RunningServer.start({
      connectionLimits: { headersTimeoutMs: 200, requestTimeoutMs: 200 },
    });
    const peer = http2.connect(hasty.url);
    peer.on("error", () => {});
    const stream = peer.request({ ":method": "POST", ":path": `${service}/Acquire`, "content-type": ways.direct });
    stream.on("error", () => {});
    stream.write(known.subarray(0, 4));
    await new Promise((resolve) => stream.once("close", resolve));
    peer.destroy();
  });
});

const item = (revision: bigint, detail = ""): WatchItem => ({
  kind: "event",
  revision,
  storeId: "store",
  event: event(revision, detail),
});

async function* steps(...given: readonly WatchStep[]): AsyncGenerator<WatchStep> {
  yield* given;
}

describe("G5 events that come at once", () => {
  test.each(Object.entries(protocols))("come one by one and in order over %s", async (_name, transport) => {
    const some = [item(8n), item(9n, "x".repeat(40_000)), item(10n), item(11n)];
    const watch = () => steps({ kind: "snapshotEnd", revision: 7n, storeId: "store", workspaces: 0 }, some, item(12n));
    Object.assign(running.services.workspaces, { watch });
    const seen: unknown[] = [];
    for await (const message of createClient(WorkspaceService, transport(running.url)).watch({})) seen.push(message);
    expect(seen).toMatchObject([
      { revision: 7n, item: { case: "snapshotEnd" } },
      ...[8n, 9n, 10n, 11n, 12n].map((revision) => ({
        revision,
        storeId: "store",
        item: { case: "event", value: { revision } },
      })),
    ]);
  });

  test("are converted and serialised once for all watchers", async () => {
    const one = item(8n);
    expect(fromWatchItem(one)).toBe(fromWatchItem(one));
    const pieces: Uint8Array[] = [];
    for (let watcher = 0; watcher < 2; watcher += 1) {
      for await (const piece of watchEnvelopes(steps([one]))) pieces.push(piece);
    }
    expect(pieces).toHaveLength(2);
    expect(pieces[0]).toBe(pieces[1]);
  });

  test("are one piece, and several if they are many bytes", async () => {
    const sizes: number[] = [];
    const many = Array.from({ length: 100 }, (_, index) => item(BigInt(index + 1), "x".repeat(4000)));
    for await (const piece of watchEnvelopes(steps([item(1n), item(2n)], many))) sizes.push(piece.length);
    expect(sizes.length).toBeGreaterThan(10);
    expect(Math.max(...sizes)).toBeLessThan(64 * 1024);
  });
});
