/** How a server starts, refuses to start, drains and ends. */
import { mkdir, writeFile } from "node:fs/promises";
import * as net from "node:net";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import { HealthCheckResponse_ServingStatus as Status } from "../../gen/health/v1/health_pb.js";
import { deadPort, serveGit } from "../support/git-http.js";
import { Client, refusal } from "../support/rpc-client.js";
import { type ServerOptions, type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
const limitMs = 60_000;
let root: string;

beforeAll(async () => {
  root = await servers.directory();
});

/** Watches the server's health; answers what resolves when it says that it drains. */
async function healthOf({ client }: ServerProcess): Promise<{ readonly drains: Promise<unknown> }> {
  const watch = client.health.watch({})[Symbol.asyncIterator]();
  expect((await watch.next()).value?.status).toBe(Status.SERVING);
  const drains = watch.next().then(({ value }) => expect(value?.status).toBe(Status.NOT_SERVING));
  return { drains };
}

/** How a start fails, which it must: with one message, and nothing on standard output. */
async function failedStart(options: ServerOptions): Promise<{ status: number | null; lines: readonly string[] }> {
  const server = await servers.make(options);
  const { status, stdout, stderr } = await server.spawn();
  expect(stdout).toBe("");
  expect(status).not.toBe(0);
  const lines = stderr.split("\n").filter((line) => !line.startsWith("{"));
  expect(lines.join("\n")).not.toMatch(/\bat .*:\d+:\d+/);
  return { status, lines };
}

describe("a start that cannot be is one clear line and a status of its own", () => {
  it(
    "G12 a data directory that is a file, or below one",
    async () => {
      const file = join(root, "file");
      await writeFile(file, "");
      for (const dataDir of [file, join(file, "below")]) {
        const { lines } = await failedStart({ dataDir });
        expect(lines).toEqual([expect.stringMatching(/^leasehold: .*file.*is not a directory/)]);
      }
    },
    limitMs,
  );

  it(
    "G12 a data directory of another host name, and a host name of another data directory",
    async () => {
      const first = await servers.start({ databaseUrl: await servers.database(), host: "taken" });
      const url = await servers.database();
      const owner = await servers.start({ databaseUrl: url, host: "mine" });
      const { lines } = await failedStart({ databaseUrl: url, host: "mine" });
      expect(lines).toEqual([expect.stringMatching(/^leasehold: .*host name mine belongs to another data directory/)]);
      await Promise.all([first.stop(), owner.stop()]);
    },
    limitMs,
  );

  it(
    "G12 a port that is in use",
    async () => {
      const blocker = net.createServer();
      await new Promise<void>((resolve) => blocker.listen(0, "127.0.0.1", resolve));
      const { port } = blocker.address() as net.AddressInfo;
      const { lines } = await failedStart({ flags: ["--listen", `127.0.0.1:${port}`] });
      expect(lines).toEqual([expect.stringContaining(`127.0.0.1:${port} is in use`)]);
      blocker.close();
    },
    limitMs,
  );

  it(
    "G12 a database of a newer version, and one that is not there",
    async () => {
      const newer = await servers.database();
      await servers.sql(newer)`insert into migrations (id, name, checksum) values (9999, '9999_future.sql', 'x')`;
      const { lines } = await failedStart({ databaseUrl: newer });
      expect(lines).toEqual([expect.stringMatching(/^leasehold: the database is of a newer version: .*9999_future/)]);
      const away = await failedStart({ databaseUrl: `postgres://nobody:hunter2@127.0.0.1:${await deadPort()}/none` });
      expect(away.lines).toEqual([expect.stringMatching(/^leasehold: the database cannot be reached: .*ECONNREFUSED/)]);
      expect(away.lines[0]).not.toContain("hunter2");
    },
    limitMs,
  );

  it(
    "a configuration with several faults, which are told together, each with its key",
    async () => {
      const config = join(root, "faulty.yaml");
      await writeFile(config, "ttl_min: soon\nsurprise: 1\n");
      const { status, lines } = await failedStart({ flags: ["--config", config, "--ttl-max", "-1"] });
      expect(status).toBe(2);
      for (const key of ["ttl_min", "surprise", "ttl_max"]) expect(lines.join("\n")).toContain(key);
      const missing = await failedStart({ flags: ["--config", join(root, "none.yaml")] });
      expect(missing.lines.join("\n")).toContain("none.yaml");
    },
    limitMs,
  );

  it(
    "an address that is not loopback without authentication, or with tokens in clear text",
    async () => {
      const open = await failedStart({ flags: ["--listen", "0.0.0.0:0"] });
      expect(open.lines).toEqual([expect.stringMatching(/^leasehold: .*authentication/)]);
      const tokens = join(root, "tokens.yaml");
      await writeFile(tokens, `- { caller: me, role: admin, sha256: ${"f".repeat(64)} }\n`);
      const clear = await failedStart({ flags: ["--listen", "0.0.0.0:0", "--tokens-file", tokens] });
      expect(clear.lines).toEqual([expect.stringMatching(/^leasehold: .*clear/)]);
    },
    limitMs,
  );

  it(
    "G12 a start that failed leaves nothing behind that keeps the next one from starting",
    async () => {
      const dataDir = join(root, "again");
      await mkdir(dataDir);
      await failedStart({ dataDir, databaseUrl: undefined, flags: ["--listen", "0.0.0.0:0"] });
      const server = await servers.start({ dataDir, databaseUrl: undefined });
      await server.stop();
    },
    limitMs,
  );
});

describe("the end", () => {
  it(
    "G12 SIGTERM drains: who waits is told when to come again, and leases live on after the restart",
    async () => {
      const server = await servers.start({ databaseUrl: await servers.database() });
      const { client } = server;
      const { url } = await Upstream.make(root, "drained");
      await client.admin.registerRepository({ repository: { name: "drained", url, maxWorkspaces: 1 } });
      const held = await client.acquire({ repository: "drained" });
      const health = await healthOf(server);
      const watch = client.workspaces.watch({})[Symbol.asyncIterator]();
      await watch.next();
      const requestId = "waits";
      const waits = refusal(client.acquire({ repository: "drained", waitMs: 60_000 }));
      const keeps = refusal(client.acquire({ repository: "drained", waitMs: 60_000, requestId }));
      await until("both wait", async () => {
        const refused = await refusal(client.acquire({ repository: "drained", waitMs: 1 }));
        return refused.metadata.position === "3";
      });
      const ended = refusal(watch.next());
      const started = performance.now();
      const stopped = server.stop();
      await health.drains;
      for (const refused of [await waits, await keeps, await ended]) {
        expect(refused).toMatchObject({ code: Code.Unavailable, reason: "DRAINING" });
        expect(refused.retryMs).toBeGreaterThan(0);
      }
      await stopped;
      expect(performance.now() - started).toBeLessThan(8_000);
      expect((await server.finished).stdout.split("\n")).toEqual([`leasehold listening on ${server.address}`]);

      await server.start();
      const again = client.acquire({ repository: "drained", waitMs: 60_000, requestId });
      await client.heartbeat(held);
      await client.release(held);
      await client.release(await again);
      await server.stop();
    },
    limitMs,
  );

  it(
    "G12 a call that runs is finished before the end, and a second SIGTERM ends at once",
    async () => {
      const web = await serveGit(root);
      servers.atEnd(() => web.close());
      const server = await servers.start({ databaseUrl: await servers.database() });
      const { client } = server;
      await Upstream.make(root, "running");
      const repository = web.url("running");
      web.hold();
      const running = client.acquire({ repository });
      await until("the upstream is asked", () => web.asked("running") > 0);
      let health = await healthOf(server);
      server.signal("SIGTERM");
      await health.drains;
      web.release();
      const held = await running;
      expect((await server.finished).status).toBe(0);

      await server.start();
      await client.heartbeat(held);
      web.hold();
      // connect-node's client does not always tell the caller that the connection is gone: it is not waited for
      client.acquire({ repository }).catch(() => {});
      const asked = web.asked("running");
      await until("the upstream is asked again", () => web.asked("running") > asked);
      health = await healthOf(server);
      const started = performance.now();
      server.signal("SIGTERM");
      await health.drains;
      server.signal("SIGTERM");
      expect((await server.finished).status).toBe(143);
      expect(performance.now() - started).toBeLessThan(6_000);
    },
    limitMs,
  );

  it(
    "G12 calls that were broken off before do not hold up the end",
    async () => {
      const server = await servers.start();
      const { client } = server;
      const { url } = await Upstream.make(root, "broken-off");
      await client.admin.registerRepository({ repository: { name: "broken-off", url, maxWorkspaces: 1 } });
      const { leaseId, leaseToken } = await client.acquire({ repository: "broken-off" });
      const gone = new AbortController();
      const aborted = refusal(client.acquire({ repository: "broken-off", waitMs: 60_000 }, gone.signal));
      const other = new Client(() => server.address);
      const cut = refusal(other.acquire({ repository: "broken-off", waitMs: 60_000 }));
      await until("both wait", async () => {
        const refused = await refusal(client.acquire({ repository: "broken-off", waitMs: 1 }));
        return refused.metadata.position === "3";
      });
      gone.abort();
      other.close();
      await Promise.all([aborted, cut]);
      await refusal(client.workspaces.release({ leaseId, leaseToken, waitForClean: true }, { timeoutMs: 1 }));
      const started = performance.now();
      await server.stop();
      expect(performance.now() - started).toBeLessThan(8_000);
    },
    limitMs,
  );

  it(
    "G12 a running call that outlasts the limit is told DRAINING, and the server still ends with 0",
    async () => {
      const web = await serveGit(root);
      servers.atEnd(() => web.close());
      const server = await servers.start({
        databaseUrl: await servers.database(),
        flags: ["--drain-limit", "1s", "--upstream-timeout", "30s"],
      });
      await Upstream.make(root, "stuck");
      web.hold();
      const running = refusal(server.client.acquire({ repository: web.url("stuck") }));
      await until("the upstream is asked", () => web.asked("stuck") > 0);
      const started = performance.now();
      await server.stop();
      expect(performance.now() - started).toBeLessThan(12_000);
      const refused = await running;
      expect(refused).toMatchObject({ code: Code.Unavailable, reason: "DRAINING" });
      expect(refused.retryMs).toBeGreaterThan(0);
    },
    limitMs,
  );
});
