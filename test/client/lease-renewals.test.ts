import { once } from "node:events";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { connect, type Lease, LeaseLostError } from "../../src/client/index.js";
import { failure, granted, leaseLost, leaseOf, renewed, type Script, serveScript } from "../support/scripted-server.js";

const ttlMs = 60_000;

interface Times {
  readonly ttlMs?: number;
  readonly graceMs?: number;
}

async function withLease(
  heartbeat: NonNullable<Script["heartbeat"]>,
  body: (lease: Lease) => Promise<void>,
  more: Times = {},
): Promise<void> {
  await using server = await serveScript({
    acquire: () => granted("/w", leaseOf({ ttlMs: more.ttlMs ?? ttlMs })),
    heartbeat,
    release: () => ({}),
  });
  using client = connect({ address: server.address });
  const { graceMs } = more;
  await using lease = await client.acquire({ repository: "demo", ...(graceMs !== undefined && { graceMs }) });
  await body(lease);
}

test.each([
  ["has ended", () => leaseLost("RECLAIMED"), { reason: "LEASE_LOST", endReason: "RECLAIMED", confirmed: true }],
  ["is unknown", () => failure("TOKEN_INVALID", Code.PermissionDenied), { reason: "LEASE_LOST", confirmed: true }],
] as const)("A3 a lease of which a renewal by hand learns that it %s is lost at once", async (_, answer, expected) => {
  const refuse = () => {
    throw answer();
  };
  await withLease(refuse, async (lease) => {
    const thrown = await lease.heartbeat().catch((error: unknown) => error);
    expect(lease.signal.aborted).toBe(true);
    expect(thrown).toBe(lease.signal.reason);
    expect(thrown).toBeInstanceOf(LeaseLostError);
    expect(thrown).toMatchObject(expected);
    expect(lease.remainingMs).toBe(0);
  });
});

test("A3 a renewal by hand that fails otherwise leaves the lease alone", async () => {
  const refuse = () => {
    throw failure("FIELD_INVALID", Code.InvalidArgument);
  };
  await withLease(refuse, async (lease) => {
    await expect(lease.heartbeat({ ttlMs: -1 })).rejects.toMatchObject({ reason: "FIELD_INVALID" });
    expect(lease.signal.aborted).toBe(false);
    expect(lease.remainingMs).toBeGreaterThan(ttlMs / 2);
  });
});

test("A3 a renewal that shortens the lease brings its deadline forward, and the next renewal with it", async () => {
  const short = 900;
  let beats = 0;
  let again = () => {};
  const renewedAgain = new Promise<void>((resolve) => {
    again = resolve;
  });
  const shorten = () => {
    if (++beats === 3) again();
    return renewed(short);
  };
  await withLease(shorten, async (lease) => {
    await lease.heartbeat({ ttlMs: short });
    expect(lease.remainingMs).toBeLessThanOrEqual(short);
    await Promise.race([renewedAgain, once(lease.signal, "abort")]);
    expect(lease.signal.aborted).toBe(false);
    expect(lease.remainingMs).toBeLessThanOrEqual(short);
  });
});

test("A3 a renewal that shortens the lease and is not answered may have come to be: the deadline says so, and it is asked", async () => {
  let calls = 0;
  const answer: NonNullable<Script["heartbeat"]> = (_, context) => {
    if (++calls > 1) return renewed(ttlMs);
    return new Promise((_resolve, reject) => context.signal.addEventListener("abort", reject));
  };
  await withLease(answer, async (lease) => {
    await expect(lease.heartbeat({ ttlMs: 5_000, timeoutMs: 200 })).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    expect(lease.remainingMs).toBeLessThanOrEqual(4_800);
    await expect.poll(() => lease.remainingMs, { timeout: 4_000 }).toBeGreaterThan(5_000);
    expect(calls).toBe(2);
  });
});

test("A3 of two renewals that overlap, the one that promises less counts, whichever is answered last", async () => {
  let answerFirst = () => {};
  let calls = 0;
  const answer: NonNullable<Script["heartbeat"]> = () => {
    if (++calls > 1) return renewed(5_000);
    return new Promise((resolve) => {
      answerFirst = () => resolve(renewed(ttlMs));
    });
  };
  await withLease(answer, async (lease) => {
    const first = lease.heartbeat();
    await expect.poll(() => calls).toBe(1);
    await lease.heartbeat({ ttlMs: 5_000 });
    answerFirst();
    await first;
    expect(lease.remainingMs).toBeLessThanOrEqual(5_000);
  });
});

test.each([
  ["a grace without end", { graceMs: Number.POSITIVE_INFINITY }],
  ["a grace of 30 days", { graceMs: 30 * 86_400_000 }],
  ["a time to live of 90 days", { ttlMs: 90 * 86_400_000 }],
] as const)("A3 a lease with %s is neither lost nor renewed at once", async (_, more: Times) => {
  let beats = 0;
  const count = () => {
    beats++;
    return renewed(more.ttlMs ?? ttlMs);
  };
  await withLease(
    count,
    async (lease) => {
      await lease.heartbeat();
      // longer than any timer that overflowed
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(lease.signal.aborted).toBe(false);
      expect(beats).toBe(1);
    },
    more,
  );
});
