import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { connect, type Lease, LeaseholdError, LeaseLostError, PoolExhaustedError } from "../../src/client/index.js";
import { draining, failure, granted, leaseLost, leaseOf, renewed, serveScript } from "../support/scripted-server.js";

const lost = (lease: Lease) =>
  new Promise<LeaseLostError>((resolve) => {
    lease.signal.addEventListener("abort", () => resolve(lease.signal.reason));
  });

test("G3 an acquire that is refused twice is repeated with the same request id and gets one lease", async () => {
  const ids: string[] = [];
  await using server = await serveScript({
    acquire: (request) => {
      ids.push(request.requestId);
      if (ids.length < 3) throw draining();
      return granted("/w");
    },
    release: () => ({}),
  });
  using client = connect({ address: server.address });
  {
    await using lease = await client.acquire({ repository: "demo" });
    expect(lease).toMatchObject({ leaseId: "w17.4", fence: 4n, path: "/w", source: "WARM", token: "w17.4.secret" });
    expect(lease.remainingMs).toBeGreaterThan(50_000);
  }
  expect(ids).toHaveLength(3);
  expect(new Set(ids).size).toBe(1);
  expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
});

test("G3 an acquire survives its server being killed and started again while it waits", async () => {
  const ids: string[] = [];
  let waiting = () => {};
  const firstWaits = new Promise<void>((resolve) => {
    waiting = resolve;
  });
  await using server = await serveScript({
    acquire: (request, context) => {
      ids.push(request.requestId);
      if (ids.length > 1) return granted("/w");
      waiting();
      return new Promise((_, reject) => context.signal.addEventListener("abort", () => reject(draining())));
    },
    release: () => ({}),
  });
  using client = connect({ address: server.address });
  const acquiring = client.acquire({ repository: "demo" });
  await firstWaits;
  await server.stop();
  await server.start();
  await using lease = await acquiring;
  expect(lease.leaseId).toBe("w17.4");
  expect(new Set(ids).size).toBe(1);
});
