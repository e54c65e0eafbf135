/** A lease whose answer cannot reach its caller is given up, and one whose answer arrived never is. */
import * as http2 from "node:http2";
import { connect as connectSocket } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AcquireRequestSchema, WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { Delivery } from "../../src/rpc/call.js";
import { until } from "../support/until.js";
import { errorOf, protocols } from "./clients.js";
import { RunningServer } from "./running-server.js";

let running: RunningServer;
beforeEach(async () => {
  running = await RunningServer.start();
});
afterEach(async () => {
  await running[Symbol.asyncDispose]();
});

const path = "/leasehold.v1.WorkspaceService/Acquire";
const request = toBinary(AcquireRequestSchema, create(AcquireRequestSchema, { repository: "demo" }));
const framed = Buffer.concat([Buffer.from([0, 0, 0, 0, request.length]), request]);

/** Holds every Acquire until it is let go. */
function gate(): { readonly entered: () => boolean; readonly open: () => void } {
  let open = () => {};
  let isEntered = false;
  const gone = new Promise<void>((resolve) => (open = resolve));
  running.services.beforeAcquire = () => {
    isEntered = true;
    return gone;
  };
  return { entered: () => isEntered, open };
}

describe.each(Object.entries(protocols))("G3 over %s", (_name, transport) => {
  test("a caller that has gone before the answer leaves no lease", async () => {
    const held = gate();
    const stop = new AbortController();
    const call = errorOf(
      createClient(WorkspaceService, transport(running.url)).acquire({ repository: "demo" }, { signal: stop.signal }),
    );
    await until("the service works", held.entered);
    stop.abort();
    await call;
    await until("the service is told", () => running.services.asked[0]?.call.signal.aborted === true);
    held.open();
    await until("the lease is given up", () => running.services.undelivered === 1);
  });
});

describe("G3 over a bare HTTP/2 stream", () => {
  const callOn = (session: http2.ClientHttp2Session) => {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.on("error", () => {});
    stream.end(framed);
    return stream;
  };

  test("an answer that never left because the caller's window was shut is given up when the caller goes", async () => {
    const session = http2.connect(running.url, { settings: { initialWindowSize: 0 } });
    session.on("error", () => {});
    const stream = callOn(session);
    await new Promise((resolve) => stream.once("response", resolve));
    expect(running.services.undelivered).toBe(0);
    session.destroy();
    await until("the lease is given up", () => running.services.undelivered === 1);
  });

  test("an answer that nobody takes is given up in time", async () => {
    await using hasty = await RunningServer.start({
      connectionLimits: { headersTimeoutMs: 200, requestTimeoutMs: 200 },
    });
    const session = http2.connect(hasty.url, { settings: { initialWindowSize: 0 } });
    session.on("error", () => {});
    const stream = callOn(session);
    await new Promise((resolve) => stream.once("close", resolve));
    await until("the lease is given up", () => hasty.services.undelivered === 1);
    session.destroy();
  });

  test("a caller that hangs up the moment it has its answer keeps its lease, 150 times", async () => {
    for (let count = 0; count < 150; count += 1) {
      const session = http2.connect(running.url);
      session.on("error", () => {});
      const stream = callOn(session);
      await new Promise((resolve) => {
        stream.once("trailers", resolve);
        stream.resume();
      });
      session.destroy();
    }
    await until("all calls are over", () => running.server.running.unary === 0);
    expect(running.services.undelivered).toBe(0);
  }, 30_000);
});

test("G3 over HTTP/1.1, a caller that hangs up the moment it has its answer keeps its lease, 150 times", async () => {
  const call = [
    `POST ${path} HTTP/1.1`,
    "Host: localhost",
    "Content-Type: application/json",
    "Content-Length: 21",
    "",
    '{"repository":"demo"}',
  ];
  for (let count = 0; count < 150; count += 1) {
    const socket = connectSocket(running.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(call.join("\r\n"));
    let answer = "";
    await new Promise<void>((resolve) => {
      socket.on("data", (chunk) => {
        answer += chunk.toString();
        const [head, body] = answer.split("\r\n\r\n");
        const length = Number(/content-length: (\d+)/i.exec(head ?? "")?.[1]);
        if (body !== undefined && body.length >= length) resolve();
      });
    });
    expect(answer).toContain("leaseToken");
    socket.resetAndDestroy();
  }
  await until("all calls are over", () => running.server.running.unary === 0);
  expect(running.services.undelivered).toBe(0);
}, 30_000);

test("G3 a delivery is lost at most once, and never after it was written", () => {
  const lost = new Delivery();
  let count = 0;
  lost.onLost(() => (count += 1));
  lost.lost();
  lost.lost();
  lost.onLost(() => (count += 1));
  expect(count).toBe(2);
  const written = new Delivery();
  written.onLost(() => (count += 1));
  written.written();
  written.lost();
  expect(count).toBe(2);
});
