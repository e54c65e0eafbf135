/** How a server ends: told to everybody, nobody's call cut that could finish, and always within its limit. */

import { once } from "node:events";
import { stat } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { connect as connectSocket } from "node:net";
import { type Client, Code, createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../gen/health/v1/health_pb.js";
import { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { until } from "../support/until.js";
import { errorInfo, errorOf, protocols, retryDelayMs } from "./clients.js";
import { RunningServer } from "./running-server.js";

let running: RunningServer;
beforeEach(async () => {
  running = await RunningServer.start({ unixSocket: true });
});
afterEach(async () => {
  await running[Symbol.asyncDispose]();
});

const drain = (limitMs: number) => {
  running.services.drain();
  return running.server.drain(limitMs);
};

/** An Acquire that has reached the service and stays there until `open`. */
async function heldAcquire(client: Client<typeof WorkspaceService>) {
  let open = () => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  running.services.beforeAcquire = () => gate;
  const answer = client.acquire({ repository: "demo" });
  answer.catch(() => {});
  await until("the service works", () => running.services.asked.length > 0);
  return { answer, open };
}

describe.each(Object.entries(protocols))("over %s", (_name, transport) => {
  test("a watcher ends with DRAINING and a time to retry", async () => {
    const items = createClient(WorkspaceService, transport(running.url)).watch({})[Symbol.asyncIterator]();
    await items.next();
    const end = errorOf(items.next());
    await drain(5000);
    const error = await end;
    expect([error.code, errorInfo(error).reason, retryDelayMs(error)]).toEqual([Code.Unavailable, "DRAINING", 1000]);
  });

  test("a call that can finish within the limit does", async () => {
    const { answer, open } = await heldAcquire(createClient(WorkspaceService, transport(running.url)));
    const drained = drain(5000);
    open();
    expect((await answer).lease?.leaseId).toBe("w17.4");
    await drained;
  });

  test("a call that cannot is ended with DRAINING, and its lease is given up", async () => {
    const { answer, open } = await heldAcquire(createClient(WorkspaceService, transport(running.url)));
    await drain(100);
    const error = await errorOf(answer);
    expect([error.code, errorInfo(error).reason]).toEqual([Code.Unavailable, "DRAINING"]);
    open();
    await until("the lease is given up", () => running.services.undelivered === 1);
  });
});

test("health and readiness say no while running calls finish, and nobody new is let in", async () => {
  const { answer, open } = await heldAcquire(createClient(WorkspaceService, protocols.connect(running.url)));
  const health = createClient(Health, protocols["grpc-web"](running.url)).watch({})[Symbol.asyncIterator]();
  expect((await health.next()).value?.status).toBe(Status.SERVING);
  // a connection from before, which may still ask
  const socket = connectSocket(running.port, "127.0.0.1");
  let seen = "";
  socket.on("data", (chunk) => (seen += chunk.toString()));
  socket.write("GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
  await once(socket, "connect");
  // answered after what the other connection sent before
  await fetch(`${running.url}/healthz`);
  const drained = drain(5000);
  socket.write("x\r\n\r\n");
  await until("readyz answers", () => seen.includes("draining"));
  expect(seen).toMatch(/^HTTP\/1.1 503 [\s\S]*Connection: close/);
  expect((await health.next()).value?.status).toBe(Status.NOT_SERVING);
  expect((await errorOf(health.next())).code).toBe(Code.Unavailable);
  await expect(fetch(`${running.url}/healthz`)).rejects.toThrow();
  open();
  await answer;
  await drained;
});

test("a drain without calls is over at once, idle keep-alive connections or not", async () => {
  await fetch(`${running.url}/healthz`);
  await createClient(Health, protocols.grpc(running.url)).check({});
  const begin = performance.now();
  await drain(10_000);
  expect(performance.now() - begin).toBeLessThan(1000);
});

test("the unix socket's file goes with the server, and draining twice is draining once", async () => {
  expect((await stat(running.socketPath)).isSocket()).toBe(true);
  await Promise.all([drain(1000), drain(1000)]);
  await expect(stat(running.socketPath)).rejects.toThrow("ENOENT");
});

test("half-sent requests and silent sockets do not hold up a drain", async () => {
  const half = httpRequest({
    host: "127.0.0.1",
    port: running.port,
    method: "POST",
    path: "/leasehold.v1.WorkspaceService/Acquire",
    headers: { "content-type": "application/json", "content-length": 100 },
  });
  half.on("error", () => {});
  half.write("{");
  const silent = connectSocket(running.port, "127.0.0.1");
  silent.on("error", () => {});
  await until("the half call is seen", () => running.server.running.unary === 1);
  const begin = performance.now();
  await drain(300);
  expect(performance.now() - begin).toBeLessThan(2000);
});
