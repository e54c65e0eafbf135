/** kill -9 of the server, of Postgres and of its backends under traffic: what was acknowledged holds, and nothing overlaps. */
import { readdir, readFile } from "node:fs/promises";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import type { Sql } from "../../src/postgres/client.js";
import { isRunning } from "../../src/postgres/embedded/process.js";
import { serveGit } from "../support/git-http.js";
import { Traffic } from "../support/holders.js";
import { expectHonoured, expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import { refusal } from "../support/rpc-client.js";
import { isSoak } from "../support/sample.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

/** Kills under one traffic. */
const rounds = isSoak ? 12 : 3;
const limitMs = isSoak ? 600_000 : 120_000;

const servers = useServers();
let root: string;

beforeAll(async () => {
  root = await servers.directory();
});

async function register(server: ServerProcess, name: string, maxWorkspaces: number, minIdle = 0): Promise<void> {
  const { url } = await Upstream.make(root, name);
  await server.client.admin.registerRepository({ repository: { name, url, maxWorkspaces, minIdle } });
}

async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`);
  const lists = threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/children`, "utf8").catch(() => ""));
  return (await Promise.all(lists)).flatMap((text) => text.split(" ").filter(Boolean).map(Number));
}

async function expectSound(sql: Sql, server: ServerProcess, traffic: Traffic): Promise<void> {
  await settled(sql, server.dataDir);
  await expectSoundStore(sql);
  await expectSoundDisk(sql, server.dataDir);
  await expectHonoured(sql, traffic.acknowledged, ["RELEASED"]);
}

it("G12 a git worker that is killed is an error of its call and nothing else", async () => {
  const web = await serveGit(root);
  servers.atEnd(() => web.close());
  const server = await servers.start();
  const { pid, client } = server;
  await Upstream.make(root, "worker-killed");
  const repository = web.url("worker-killed");
  await client.release(await client.acquire({ repository }));
  web.hold();
  const call = refusal(client.acquire({ repository }));
  const asked = web.asked("worker-killed");
  await until("the upstream is asked", () => web.asked("worker-killed") > asked);
  for (const worker of await childrenOf(pid)) process.kill(worker, "SIGKILL");
  expect(await call).toMatchObject({ code: Code.Internal, reason: "INTERNAL" });
  web.release();
  await client.release(await client.acquire({ repository }));
  expect(server.running && server.pid).toBe(pid);
  await server.stop();
}, 60_000);

it("G12 a server that is killed leaves neither git workers nor their homes behind", async () => {
  const temporary = await servers.directory();
  const server = await servers.start({ env: { TMPDIR: temporary } });
  const { url } = await Upstream.make(root, "orphaned");
  await server.client.acquire({ repository: url });
  const workers = await childrenOf(server.pid);
  expect(workers.length).toBeGreaterThan(0);
  expect(await readdir(temporary)).toHaveLength(workers.length);
  await server.kill9();
  await until("they are gone", async () => {
    return !workers.some(isRunning) && (await readdir(temporary)).length === 0;
  });
}, 60_000);

describe("with a Postgres of its own", () => {
  it(
    "G12 B2 kill -9 of the server, again and again under traffic: every acknowledged lease is honoured",
    async () => {
      const databaseUrl = await servers.database();
      const server = await servers.start({ databaseUrl });
      const sql = servers.sql(databaseUrl);
      await register(server, "server-killed", 6, 2);
      const traffic = new Traffic({ repository: "server-killed", holders: 8, clients: [server.client] });
      for (let round = 0; round < rounds; round++) {
        await traffic.progress(3 + 4 * round);
        await server.kill9();
        await server.start();
      }
      await traffic.progress(10);
      await traffic.stop();
      await expectSound(sql, server, traffic);
      await server.stop();
    },
    limitMs,
  );

  it(
    "G12 all backends of Postgres killed, again and again under traffic: the server survives, and the traffic goes on",
    async () => {
      const databaseUrl = await servers.database();
      const server = await servers.start({ databaseUrl });
      const sql = servers.sql(databaseUrl);
      await register(server, "backends-killed", 6);
      const { pid } = server;
      const traffic = new Traffic({ repository: "backends-killed", holders: 8, clients: [server.client] });
      for (let round = 0; round < rounds; round++) {
        await traffic.progress(3 + 2 * round);
        await sql`select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and application_name like 'leasehold%'`;
      }
      await traffic.progress(10);
      await traffic.stop();
      expect(server.running && server.pid).toBe(pid);
      await expectSound(sql, server, traffic);
      await server.stop();
    },
    limitMs,
  );
});
