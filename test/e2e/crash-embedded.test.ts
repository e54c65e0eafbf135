/** kill -9 of the embedded Postgres, alone and together with its server, in the middle of holders' work. */
import { appendFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { connectPool } from "../../src/postgres/client.js";
import { mark, persist, Traffic } from "../support/holders.js";
import { expectHonoured, expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import type { Held } from "../support/rpc-client.js";
import { embeddedUrl, killPostgres, postgresPid, type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let root: string;

beforeAll(async () => {
  root = await servers.directory();
  server = await servers.start({ databaseUrl: undefined });
});

async function register(name: string, maxWorkspaces: number): Promise<void> {
  const { url } = await Upstream.make(root, name);
  await server.client.admin.registerRepository({ repository: { name, url, maxWorkspaces } });
}

async function expectSound(acknowledged: readonly Held[]): Promise<void> {
  const sql = connectPool({ url: await embeddedUrl(server.dataDir) }, { max: 1, name: "test" });
  try {
    await settled(sql, server.dataDir);
    await expectSoundStore(sql);
    await expectSoundDisk(sql, server.dataDir);
    await expectHonoured(sql, acknowledged, ["RELEASED"]);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

it("G12 kill -9 of the embedded Postgres under traffic: the server starts it again, and the traffic goes on", async () => {
  await register("postgres-killed", 4);
  const { pid } = server;
  const traffic = new Traffic({ repository: "postgres-killed", holders: 6, clients: [server.client] });
  for (let round = 0; round < 3; round++) {
    await traffic.progress(4);
    const killed = killPostgres(server.dataDir);
    await until("another Postgres serves", () => {
      const now = postgresPid(server.dataDir);
      return now !== undefined && now !== killed;
    });
  }
  await traffic.progress(6);
  await traffic.stop();
  expect(server.running && server.pid).toBe(pid);
  await expectSound(traffic.acknowledged);
}, 90_000);

it("G12 A4 kill -9 of server and Postgres in the middle of 20 holders' work: all heartbeat on and release", async () => {
  await register("both-killed", 20);
  const { client } = server;
  const work = async (number: number) => {
    const held = await client.acquire({ repository: "both-killed", holder: `holder ${number}` });
    await mark(held, "before");
    await appendFile(join(held.path, "src/main.txt"), `work of ${number}\n`);
    return held;
  };
  const all = await Promise.all(Array.from({ length: 20 }, (_, number) => work(number)));
  const { newestRevision } = await client.admin.getServerInfo({});
  const before = await client.events(1n);
  const during = all.map((held) => persist("heartbeat", () => client.heartbeat(held)));
  server.signal("SIGKILL");
  killPostgres(server.dataDir);
  await server.finished;
  await server.start();
  await Promise.all(during);
  const renewed = await Promise.all(all.map((held) => client.heartbeat(held)));
  for (const { lease } of renewed) expect(Number(lease?.remaining?.seconds)).toBeGreaterThan(50);
  // nothing overlaps: whoever comes now gets none of their directories
  await expect(client.acquire({ repository: "both-killed" })).rejects.toThrow(/in use/);
  await Promise.all(
    all.map(async (held, number) => {
      await mark(held, "after");
      expect(await readFile(join(held.path, "src/main.txt"), "utf8")).toBe(`one\nwork of ${number}\n`);
      await git(held.path, "commit", "--quiet", "--all", "--message", `Work of ${number}`);
      await client.release(held);
    }),
  );
  // no event is missing: those before are as they were, and every lease has its begin and its end
  const after = await client.events(1n);
  expect(after.slice(0, before.length)).toEqual(before);
  expect(after.map(({ revision }) => revision)).toEqual(after.map((_, index) => BigInt(index) + 1n));
  expect(after.length).toBeGreaterThan(Number(newestRevision));
  const of = (kind: EventKind) =>
    after.filter((event) => event.kind === kind && event.repository === "both-killed").map(({ leaseId }) => leaseId);
  const leases = all.map(({ leaseId }) => leaseId).sort();
  expect(of(EventKind.LEASE_ACQUIRED).sort()).toEqual(leases);
  expect(of(EventKind.LEASE_ENDED).sort()).toEqual(leases);
  await expectSound(all);
}, 90_000);

it("G12 a second start is up on the same database, and SIGTERM ends the embedded Postgres too", async () => {
  const { storeId } = await server.client.admin.getServerInfo({});
  const pid = postgresPid(server.dataDir);
  await server.stop();
  expect(pid).toBeDefined();
  expect(postgresPid(server.dataDir)).toBeUndefined();
  await server.start();
  expect((await server.client.admin.getServerInfo({})).storeId).toBe(storeId);
  await server.stop();
});
