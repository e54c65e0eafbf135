import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { connect, type Lease, LeaseLostError } from "../../src/client/index.js";
import { cleanEnvironment } from "../support/environment.js";
import { draining, failure, granted, leaseLost, leaseOf, renewed, serveScript } from "../support/scripted-server.js";
import { until } from "../support/until.js";

const lossOf = async (lease: Lease): Promise<LeaseLostError> => {
  if (!lease.signal.aborted) await once(lease.signal, "abort");
  return lease.signal.reason as LeaseLostError;
};

/** Waits for `reached`, unless the lease is lost first. */
async function unlessLost(lease: Lease, reached: Promise<void>): Promise<void> {
  const lost = lossOf(lease).then((loss) => Promise.reject(loss));
  lost.catch(() => undefined);
  await Promise.race([reached, lost]);
}

/** Resolves when `add` was called `count` times. */
function counter(count: number) {
  let left = count;
  let done = () => {};
  const reached = new Promise<void>((resolve) => {
    done = resolve;
  });
  return { reached, add: () => --left === 0 && done() };
}

test("a lease renews itself every third of what remains, and lives on past its ttl", async () => {
  const ttlMs = 1_800;
  const beats: number[] = [];
  const enough = counter(5);
  await using server = await serveScript({
    acquire: () => granted("/w", leaseOf({ ttlMs })),
    heartbeat: () => {
      beats.push(performance.now());
      enough.add();
      return renewed(ttlMs);
    },
    release: () => ({}),
  });
  using client = connect({ address: server.address });
  const begun = performance.now();
  await using lease = await client.acquire({ repository: "demo", ttlMs });
  await unlessLost(lease, enough.reached);
  expect(performance.now() - begun).toBeGreaterThan(ttlMs);
  expect(lease.signal.aborted).toBe(false);
  const pauses = beats.slice(1).map((at, index) => at - (beats[index] as number));
  expect(Math.min(...pauses)).toBeGreaterThan(100);
});

test("the deadline is counted from before the request was sent, and from the server's own time where it tells it", async () => {
  const ttlMs = 60_000;
  let elapsedMs = 0;
  await using server = await serveScript({
    acquire: async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      return { ...granted("/w", leaseOf({ ttlMs })), elapsed: durationFromMs(elapsedMs) };
    },
    release: () => ({}),
  });
  using client = connect({ address: server.address });
  {
    await using lease = await client.acquire({ repository: "demo" });
    expect(lease.remainingMs).toBeLessThan(ttlMs - 290);
  }
  elapsedMs = 290;
  await using lease = await client.acquire({ repository: "demo" });
  expect(lease.remainingMs).toBeGreaterThan(ttlMs - 290);
  expect(lease.remainingMs).toBeLessThanOrEqual(ttlMs);
});

test("a lease that a server calls lost fires its signal at once, with the end reason, and is released no more", async () => {
  let releases = 0;
  let told = 0;
  await using server = await serveScript({
    acquire: () => granted("/w", leaseOf({ ttlMs: 3_000 })),
    heartbeat: () => {
      told = performance.now();
      throw leaseLost("RECLAIMED");
    },
    release: () => {
      releases++;
      return {};
    },
  });
  using client = connect({ address: server.address });
  {
    await using lease = await client.acquire({ repository: "demo" });
    const loss = await lossOf(lease);
    expect(performance.now() - told).toBeLessThan(1_000);
    expect(loss).toBeInstanceOf(LeaseLostError);
    expect(loss).toMatchObject({ reason: "LEASE_LOST", endReason: "RECLAIMED", confirmed: true });
    expect(lease.remainingMs).toBe(0);
    await expect(lease.release()).rejects.toBe(loss);
    await expect(lease.heartbeat()).rejects.toBe(loss);
  }
  expect(releases).toBe(0);
});

test("a renewal that fails is tried again at once, and the lease survives a server that is away for a while", async () => {
  const ttlMs = 4_000;
  let beats = 0;
  const before = counter(1);
  const after = counter(3);
  await using server = await serveScript({
    acquire: () => granted("/w", leaseOf({ ttlMs })),
    heartbeat: () => {
      if (++beats < 3) throw beats === 1 ? draining() : failure("DATABASE_UNAVAILABLE", Code.Unavailable);
      before.add();
      after.add();
      return renewed(ttlMs);
    },
    release: () => ({}),
  });
  using client = connect({ address: server.address });
  await using lease = await client.acquire({ repository: "demo" });
  await unlessLost(lease, before.reached);
  await until("the third renewal has been heard of", () => lease.remainingMs > ttlMs * 0.8);
  await server.stop();
  await new Promise((resolve) => setTimeout(resolve, ttlMs / 2));
  await server.start();
  await unlessLost(lease, after.reached);
});

test("a lease that nobody can renew is lost at its deadline, not before, and no later", async () => {
  const ttlMs = 1_200;
  await using server = await serveScript({ acquire: () => granted("/w", leaseOf({ ttlMs })) });
  using client = connect({ address: server.address });
  const begun = performance.now();
  const lease = await client.acquire({ repository: "demo" });
  await server.stop();
  const loss = await lossOf(lease);
  const lasted = performance.now() - begun;
  expect(lasted).toBeGreaterThan(ttlMs - 20);
  expect(lasted).toBeLessThan(ttlMs + 1_000);
  expect(loss).toMatchObject({ reason: "LEASE_LOST", endReason: "UNSPECIFIED", confirmed: false });
  expect(loss.message).toContain("no server answers");
});

test("a grace lets a lease be held past its deadline while no server answers", async () => {
  const ttlMs = 600;
  const back = counter(1);
  await using server = await serveScript({
    acquire: () => granted("/w", leaseOf({ ttlMs })),
    heartbeat: () => {
      back.add();
      return renewed(60_000);
    },
    release: () => ({}),
  });
  using client = connect({ address: server.address });
  await using lease = await client.acquire({ repository: "demo", graceMs: 5_000 });
  await server.stop();
  await new Promise((resolve) => setTimeout(resolve, ttlMs * 2));
  expect(lease.signal.aborted).toBe(false);
  await server.start();
  await unlessLost(lease, back.reached);
});

test("a renewal that is never answered is not waited for: the next one goes over a new connection", async () => {
  const ttlMs = 4_000;
  let beats = 0;
  const second = counter(1);
  await using server = await serveScript({
    acquire: () => granted("/w", leaseOf({ ttlMs })),
    heartbeat: (_, context) => {
      if (++beats > 1) {
        second.add();
        return renewed(ttlMs);
      }
      return new Promise((_resolve, reject) => context.signal.addEventListener("abort", reject));
    },
    release: () => ({}),
  });
  using client = connect({ address: server.address });
  await using lease = await client.acquire({ repository: "demo" });
  const before = server.connections();
  await unlessLost(lease, second.reached);
  expect(server.connections()).toBe(before + 2);
  expect(lease.signal.aborted).toBe(false);
});

test("a release is one call however often it is asked for, and is tried again while the server drains", async () => {
  const dispositions: number[] = [];
  await using server = await serveScript({
    acquire: () => granted("/w"),
    release: (request) => {
      dispositions.push(request.disposition);
      if (dispositions.length === 1) throw draining();
      return { alreadyReleased: false };
    },
  });
  using client = connect({ address: server.address });
  const lease = await client.acquire({ repository: "demo" });
  const [first, second] = await Promise.all([lease.release({ disposition: "DISCARD" }), lease.release()]);
  expect(first).toBe(second);
  await lease[Symbol.asyncDispose]();
  expect(dispositions).toEqual([2, 2]);
  expect(lease.signal.aborted).toBe(false);
});

test("a closed client renews nothing, watches nothing and asks for nothing any more", async () => {
  const watching = counter(1);
  await using server = await serveScript({
    acquire: () => granted("/w"),
    async *watch(_, context) {
      yield { revision: 1n, item: { case: "bookmark" as const, value: {} } };
      watching.add();
      await once(context.signal, "abort");
    },
  });
  const client = connect({ address: server.address });
  await client.acquire({ repository: "demo" });
  const reading = (async () => {
    for await (const item of client.watch()) expect(item.type).toBe("bookmark");
  })();
  await watching.reached;
  client.close();
  const closed = { message: "the client was closed", code: "CANCELLED" };
  await expect(reading).rejects.toMatchObject(closed);
  await expect(client.acquire({ repository: "demo" })).rejects.toMatchObject(closed);
});

test("a process holds its lease until it releases it, unless it said that the lease need not keep it alive", async () => {
  const beats = counter(2);
  await using server = await serveScript({
    acquire: () => granted("/w", leaseOf({ ttlMs: 3_000 })),
    heartbeat: () => {
      beats.add();
      return renewed(3_000);
    },
  });
  const held = holder(server.address, "");
  const ended = once(held, "exit");
  await beats.reached;
  expect(held.exitCode).toBe(null);
  held.kill("SIGKILL");
  await ended;

  const free = holder(server.address, ".unref()");
  expect(await once(free, "exit")).toEqual([0, null]);
});

function holder(address: string, more: string): ChildProcess {
  const entry = fileURLToPath(new URL("../../dist/src/client/index.js", import.meta.url));
  const script = `const { connect } = await import(${JSON.stringify(entry)});
    (await connect({ address: ${JSON.stringify(address)} }).acquire({ repository: "demo" }))${more};`;
  return spawn(process.execPath, ["--input-type=module", "-e", script], { env: cleanEnvironment(), stdio: "inherit" });
}
