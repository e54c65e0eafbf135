import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { connect, LeaseholdError, PoolExhaustedError, UnreachableError } from "../../src/client/index.js";
import { draining, failure, granted, type Script, serveScript } from "../support/scripted-server.js";

const release: Script["release"] = () => ({});

test("G3 an acquire that is refused twice is repeated with the same request id and gets one lease", async () => {
  const ids: string[] = [];
  await using server = await serveScript({
    acquire: (request) => {
      ids.push(request.requestId);
      if (ids.length < 3) throw draining();
      return granted("/w");
    },
    release,
  });
  using client = connect({ address: server.address });
  await using lease = await client.acquire({ repository: "demo" });
  expect(lease).toMatchObject({ leaseId: "w17.4", fence: 4n, path: "/w", source: "WARM", token: "w17.4.secret" });
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
    release,
  });
  using client = connect({ address: server.address });
  const retries: string[] = [];
  let retried = () => {};
  const firstRetry = new Promise<void>((resolve) => {
    retried = resolve;
  });
  const acquiring = client.acquire({
    repository: "demo",
    onRetry: (error) => {
      retries.push(error.code);
      if (error instanceof UnreachableError) retried();
    },
  });
  await firstWaits;
  await server.stop();
  await firstRetry;
  await server.start();
  await using lease = await acquiring;
  expect(lease.leaseId).toBe("w17.4");
  expect(new Set(ids).size).toBe(1);
  expect(new Set(retries)).toEqual(new Set(["UNAVAILABLE"]));
});

test("a server that never answers is given up after the time to connect, and named as such", async () => {
  const server = await serveScript({});
  await server.stop();
  using client = connect({ address: server.address });
  const error = await client.acquire({ repository: "demo", connectMs: 0 }).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UnreachableError);
  expect(error).toMatchObject({ code: "UNAVAILABLE", reason: "UNSPECIFIED" });
});

test("what repetition cannot mend is thrown at once, by its reason", async () => {
  let calls = 0;
  let answer = failure("UPSTREAM_UNAVAILABLE", Code.Unavailable);
  await using server = await serveScript({
    acquire: () => {
      calls++;
      throw answer;
    },
  });
  using client = connect({ address: server.address });
  const acquire = () => client.acquire({ repository: "demo" }).catch((thrown: unknown) => thrown);
  expect(await acquire()).toMatchObject({ reason: "UPSTREAM_UNAVAILABLE", code: "UNAVAILABLE" });

  answer = failure("POOL_EXHAUSTED", Code.ResourceExhausted, { metadata: { position: "3" }, retryAfterMs: 1_500 });
  const exhausted = await acquire();
  expect(exhausted).toBeInstanceOf(PoolExhaustedError);
  expect(exhausted).toMatchObject({ position: 3, retryAfterMs: 1_500, code: "RESOURCE_EXHAUSTED" });

  const fields: [string, string][] = [
    ["ttl", "is negative"],
    ["holder", "is longer than 256 bytes"],
  ];
  answer = failure("FIELD_INVALID", Code.InvalidArgument, { fields });
  const invalid = await acquire();
  expect(invalid).toBeInstanceOf(LeaseholdError);
  expect((invalid as LeaseholdError).fields).toEqual(fields.map(([field, description]) => ({ field, description })));

  answer = failure("SOMETHING_OF_NEXT_YEAR", Code.FailedPrecondition);
  expect(await acquire()).toMatchObject({ reason: "UNSPECIFIED", code: "FAILED_PRECONDITION" });

  answer = new ConnectError("some other server's defect", Code.Internal);
  expect(await acquire()).toMatchObject({ reason: "UNSPECIFIED", code: "INTERNAL" });
  expect(calls).toBe(5);
});

test("an aborted acquire ends with its signal's reason, and the server sees its caller leave", async () => {
  let waiting = () => {};
  const waits = new Promise<void>((resolve) => {
    waiting = resolve;
  });
  let left = () => {};
  const leaves = new Promise<void>((resolve) => {
    left = resolve;
  });
  await using server = await serveScript({
    acquire: (_, context) => {
      waiting();
      return new Promise((_resolve, reject) =>
        context.signal.addEventListener("abort", () => {
          left();
          reject(context.signal.reason);
        }),
      );
    },
  });
  using client = connect({ address: server.address });
  const abort = new AbortController();
  const acquiring = client.acquire({ repository: "demo", signal: abort.signal });
  await waits;
  abort.abort(new Error("changed my mind"));
  await expect(acquiring).rejects.toThrow("changed my mind");
  await leaves;
});

test("a timeout bounds all attempts together, and every attempt carries what is left of it", async () => {
  const left: number[] = [];
  await using server = await serveScript({
    acquire: (_, context) => {
      left.push(context.timeoutMs() ?? Number.NaN);
      throw draining();
    },
  });
  using client = connect({ address: server.address });
  const begun = performance.now();
  await expect(client.acquire({ repository: "demo", timeoutMs: 700 })).rejects.toMatchObject({ reason: "DRAINING" });
  expect(performance.now() - begun).toBeLessThan(2_000);
  expect(left.length).toBeGreaterThan(1);
  expect(left.every((ms, index) => ms > 0 && ms <= (left[index - 1] ?? 700))).toBe(true);
});

test("the bearer token goes with every call, over gRPC, over Connect and over a unix socket", async () => {
  const folder = await mkdtemp(join(tmpdir(), "leasehold-client-"));
  try {
    const seen: (string | null)[] = [];
    const script: Script = {
      acquire: (_, context) => {
        seen.push(`${context.protocolName} ${context.requestHeader.get("authorization")}`);
        return granted("/w");
      },
      release,
    };
    await using tcp = await serveScript(script);
    await using local = await serveScript(script, join(folder, "socket"));
    for (const [address, protocol] of [
      [tcp.address, "grpc"],
      [tcp.address, "connect"],
      [local.address, "grpc"],
      [local.address, "connect"],
    ] as const) {
      using client = connect({ address, protocol, token: "s3cret" });
      await using _ = await client.acquire({ repository: "demo" });
    }
    expect(seen).toEqual(["grpc", "connect", "grpc", "connect"].map((protocol) => `${protocol} Bearer s3cret`));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a token that is none is refused without being shown", () => {
  for (const token of ["s3cret\n", "s3c ret", "s3cr\u00e9t"]) {
    expect(() => connect({ token })).toThrow(/^token: (?!.*s3c)/);
  }
});

test("an address that is none is refused with what would be one", () => {
  for (const address of ["unix:relative", "ftp://here:1", "http://user:pw@here:1", "http://"]) {
    expect(() => connect({ address }), address).toThrow(TypeError);
  }
  expect(connect({ address: "127.0.0.1:7420" }).address).toBe("http://127.0.0.1:7420");
});
