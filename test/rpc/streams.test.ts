/** Streams cost the server nothing once their reader has gone, and little while it does not read. */
import * as http2 from "node:http2";
import { connect as connectSocket, type Socket } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WatchRequestSchema, WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { until, untilStill } from "../support/until.js";
import { protocols } from "./clients.js";
import { RunningServer } from "./running-server.js";

let running: RunningServer;
beforeEach(async () => {
  running = await RunningServer.start();
});
afterEach(async () => {
  await running[Symbol.asyncDispose]();
});

/** A Watch over a bare HTTP/2 stream that is never read. */
function unreadWatch(session: http2.ClientHttp2Session): http2.ClientHttp2Stream {
  const request = toBinary(WatchRequestSchema, create(WatchRequestSchema));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(request.length, 1);
  const stream = session.request({
    ":method": "POST",
    ":path": "/leasehold.v1.WorkspaceService/Watch",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.on("error", () => {});
  stream.end(Buffer.concat([head, request]));
  return stream;
}

let rawSocket: Socket;
function openSession(): http2.ClientHttp2Session {
  rawSocket = connectSocket(running.port, "127.0.0.1");
  const session = http2.connect(running.url, { createConnection: () => rawSocket });
  session.on("error", () => {});
  return session;
}

const isQuiet = () => running.services.watching === 0 && running.server.running.streams === 0;

describe.each(Object.entries(protocols))("G5 a watcher over %s", (_name, transport) => {
  test("that leaves while nothing happens is released", async () => {
    const stop = new AbortController();
    const items = createClient(WorkspaceService, transport(running.url))
      .watch({}, { signal: stop.signal })
      [Symbol.asyncIterator]();
    expect((await items.next()).value?.item.case).toBe("snapshotEnd");
    const pending = items.next();
    stop.abort();
    await expect(pending).rejects.toThrow();
    await until("the watcher is released", isQuiet);
  });

  test("that leaves in the middle of a flood is released", async () => {
    running.services.floods = true;
    const stop = new AbortController();
    const items = createClient(WorkspaceService, transport(running.url))
      .watch({}, { signal: stop.signal })
      [Symbol.asyncIterator]();
    for (let count = 0; count < 20; count += 1) await items.next();
    stop.abort();
    await until("the watcher is released", isQuiet);
  });
});

describe("G5 a watcher that never reads", () => {
  beforeEach(() => {
    running.services.floods = true;
    running.services.detail = "x".repeat(4096);
  });

  test("is given no more than its window and buffers hold", async () => {
    const session = openSession();
    unreadWatch(session);
    await until("the stream flows", () => running.services.given > 0);
    const last = await untilStill("the stream stands still", () => running.services.given);
    expect(last * running.services.detail.length).toBeLessThan(512 * 1024);
    session.destroy();
  });

  const ways: Record<string, (session: http2.ClientHttp2Session, stream: http2.ClientHttp2Stream) => void> = {
    "resets its stream": (_session, stream) => stream.close(http2.constants.NGHTTP2_CANCEL),
    "destroys its session": (session) => session.destroy(),
    "ends its socket without a word": () => rawSocket.destroy(),
  };
  test.each(Object.entries(ways))("is released when it %s", async (_way, leave) => {
    const session = openSession();
    const stream = unreadWatch(session);
    await until("the stream flows", () => running.services.given > 3);
    leave(session, stream);
    await until("the watcher is released", isQuiet);
    session.destroy();
  });

  test("does not hold up a drain", async () => {
    const session = openSession();
    unreadWatch(session);
    await until("the stream flows", () => running.services.given > 3);
    running.services.drain();
    const begin = performance.now();
    await running.server.drain(10_000);
    expect(performance.now() - begin).toBeLessThan(4000);
    await until("the watcher is released", isQuiet);
  });
});

test("G5 500 watchers that never read leave room for calls on the same connection", async () => {
  running.services.floods = true;
  running.services.detail = "x".repeat(4096);
  const session = openSession();
  for (let count = 0; count < 500; count += 1) unreadWatch(session);
  await until("all watch", () => running.services.watching === 500);
  const last = unreadWatch(session);
  const head = await new Promise((resolve, reject) => {
    last.on("response", resolve);
    last.on("close", () => reject(new Error("refused")));
  });
  expect(head).toMatchObject({ ":status": 200 });
  session.destroy();
  await until("all watchers are released", isQuiet);
}, 30_000);

test("G5 a peer that vanishes is noticed by its silence to pings", async () => {
  await using pinging = await RunningServer.start({ connectionLimits: { pingIntervalMs: 100, pingTimeoutMs: 100 } });
  const socket = connectSocket(pinging.port, "127.0.0.1");
  socket.on("error", () => {});
  // a preface and an empty SETTINGS frame; pings are never answered
  socket.write(
    Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from("000000040000000000", "hex")]),
  );
  socket.resume();
  await new Promise((resolve) => socket.once("close", resolve));
});
