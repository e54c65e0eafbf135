/** kill -9 of the server, of Postgres and of its backends under traffic: what was acknowledged holds, and nothing overlaps. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Sql } from "../../src/postgres/client.js";
import { Traffic } from "../support/holders.js";
import { expectHonoured, expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let root: string;

beforeAll(async () => {
  root = await servers.directory();
});

async function register(server: ServerProcess, name: string, maxWorkspaces: number, minIdle = 0): Promise<void> {
  const { url } = await Upstream.make(root, name);
  await server.client.admin.registerRepository({ repository: { name, url, maxWorkspaces, minIdle } });
}

async function expectSound(sql: Sql, server: ServerProcess, traffic: Traffic): Promise<void> {
  await settled(sql, server.dataDir);
  await expectSoundStore(sql);
  await expectSoundDisk(sql, server.dataDir);
  await expectHonoured(sql, traffic.acknowledged, ["RELEASED"]);
}

describe("with a Postgres of its own", () => {
  it("F1 B2 kill -9 of the server, six times under traffic: every acknowledged lease is honoured", async () => {
    const databaseUrl = await servers.database();
    const server = await servers.start({ databaseUrl });
    const sql = servers.sql(databaseUrl);
    await register(server, "server-killed", 6, 2);
    const traffic = new Traffic({ repository: "server-killed", holders: 8, client: server.client });
    for (let round = 0; round < 6; round++) {
      await traffic.progress(3 + 4 * round);
      await server.kill9();
      await server.start();
    }
    await traffic.progress(10);
    await traffic.stop();
    await expectSound(sql, server, traffic);
    await server.stop();
  }, 120_000);

  it("F1 all backends of Postgres killed, six times under traffic: the server survives, and the traffic goes on", async () => {
    const databaseUrl = await servers.database();
    const server = await servers.start({ databaseUrl });
    const sql = servers.sql(databaseUrl);
    await register(server, "backends-killed", 6);
    const { pid } = server;
    const traffic = new Traffic({ repository: "backends-killed", holders: 8, client: server.client });
    for (let round = 0; round < 6; round++) {
      await traffic.progress(3 + 2 * round);
      await sql`select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and application_name like 'leasehold%'`;
    }
    await traffic.progress(10);
    await traffic.stop();
    expect(server.running && server.pid).toBe(pid);
    await expectSound(sql, server, traffic);
    await server.stop();
  }, 120_000);
});
