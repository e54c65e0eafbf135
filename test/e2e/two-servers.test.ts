/** Several servers on one database: one owns a host's directories, all answer, and the next one takes over. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import { refusal } from "../support/rpc-client.js";
import { postgresPid, type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

/** How long a take-over may take on a slow machine; it is tried four times a second. */
const takeOverMs = 3_000;
/** The same after a freeze, which the database notices after 4 s. */
const thawMs = 10_000;
/** A test starts two or three servers, and each start takes seconds on a slow machine. */
const limitMs = 90_000;

const servers = useServers();
let root: string;

beforeAll(async () => {
  root = await servers.directory();
});

/** Two servers on one data directory, of which the first owns it. */
async function pair() {
  const databaseUrl = await servers.database();
  const first = await servers.start({ databaseUrl });
  const second = await servers.start({ databaseUrl, dataDir: first.dataDir });
  return { databaseUrl, first, second };
}

async function register(server: ServerProcess, name: string): Promise<string> {
  const { url } = await Upstream.make(root, name);
  await server.client.admin.registerRepository({ repository: { name, url } });
  return name;
}

const owns = async (server: ServerProcess) => (await server.client.admin.getServerInfo({})).owner;

async function tookOver(server: ServerProcess, withinMs: number): Promise<void> {
  const start = performance.now();
  await until("the other server has taken over", () => owns(server), withinMs * 3);
  expect(performance.now() - start).toBeLessThan(withinMs);
}

describe("on one data directory", () => {
  it(
    "G10 G12 G6 the second server answers what needs the database, hands Acquires on, and takes over after kill -9",
    async () => {
      const { databaseUrl, first, second } = await pair();
      expect([await owns(first), await owns(second)]).toEqual([true, false]);
      const name = await register(second, "pair");
      const byFirst = await first.client.acquire({ repository: name });
      await second.client.heartbeat(byFirst);
      const bySecond = await second.client.acquire({ repository: name, revision: "main" });
      expect(await git(bySecond.path, "status", "--porcelain")).toBe("");
      await first.client.heartbeat(bySecond);
      const { workspaces } = await second.client.workspaces.listActive({ repository: name });
      expect(workspaces.map(({ lease }) => lease?.leaseId).sort()).toEqual([byFirst.leaseId, bySecond.leaseId].sort());
      await second.client.releaseAndClean(bySecond);

      await first.kill9();
      await tookOver(second, takeOverMs);
      await second.client.heartbeat(byFirst);
      const after = await second.client.acquire({ repository: name });
      expect(after.path).not.toBe(byFirst.path);
      await second.client.releaseAndClean(byFirst);
      await second.client.releaseAndClean(after);

      await first.start();
      expect([await owns(first), await owns(second)]).toEqual([false, true]);
      await second.stop();
      await tookOver(first, takeOverMs);
      await first.client.release(await first.client.acquire({ repository: name }));
      const sql = servers.sql(databaseUrl);
      await settled(sql, first.dataDir);
      await expectSoundStore(sql);
      await expectSoundDisk(sql, first.dataDir);
      await first.stop();
    },
    limitMs,
  );

  it(
    "G6 nobody waits behind the callers of an owner that was killed",
    async () => {
      const { databaseUrl, first, second } = await pair();
      const { url } = await Upstream.make(root, "ghosts");
      await first.client.admin.registerRepository({ repository: { name: "ghosts", url, maxWorkspaces: 1 } });
      const held = await first.client.acquire({ repository: "ghosts" });
      const waiters = [1, 2, 3].map((n) =>
        first.client.acquire({ repository: "ghosts", waitMs: 60_000, requestId: `${n}` }),
      );
      for (const waiter of waiters) waiter.catch(() => {});
      const sql = servers.sql(databaseUrl);
      await until("three wait", async () => {
        const [row] = await sql<{ n: number }[]>`select count(*)::int as n from tickets where state = 'WAITING'`;
        return row?.n === 3;
      });
      await first.kill9();
      await tookOver(second, takeOverMs);
      const [row] = await sql<{ n: number }[]>`
        select count(*)::int as n from tickets where state = 'WAITING' and is_alive(server_id)`;
      expect(row?.n).toBe(0);
      await second.client.releaseAndClean(held);
      await second.client.release(await second.client.acquire({ repository: "ghosts" }));
      // their places are kept for them all the same
      const again = second.client.acquire({ repository: "ghosts", waitMs: 60_000, requestId: "1" });
      await second.client.release(await again);
      await second.stop();
    },
    limitMs,
  );

  it(
    "G10 G12 a frozen owner loses its host to the second server, and does no harm when it thaws",
    async () => {
      const { databaseUrl, first, second } = await pair();
      const name = await register(first, "frozen");
      const held = await first.client.acquire({ repository: name });
      const idle = await first.client.releaseAndClean(held);
      const before = await first.client.acquire({ repository: name });
      first.signal("SIGSTOP");
      try {
        await tookOver(second, thawMs);
        await second.client.heartbeat(before);
        const taken = await second.client.acquire({ repository: name });
        await writeFile(join(taken.path, "mine.txt"), "mine");
        await second.client.release(before);
        first.signal("SIGCONT");
        await until("the first one knows", async () => !(await owns(first)));
        expect(await owns(second)).toBe(true);
        await first.client.heartbeat(taken);
        expect(await git(taken.path, "status", "--porcelain")).toBe("?? mine.txt");
        await first.client.releaseAndClean(taken);
      } finally {
        first.signal("SIGCONT");
      }
      expect(idle.state).toBe(WorkspaceState.IDLE);
      const sql = servers.sql(databaseUrl);
      await settled(sql, first.dataDir);
      await expectSoundStore(sql);
      await expectSoundDisk(sql, first.dataDir);
      await Promise.all([first.stop(), second.stop()]);
    },
    limitMs,
  );

  it(
    "G10 two servers share one embedded Postgres, which outlives the kill of the first and ends with the last",
    async () => {
      const first = await servers.start({ databaseUrl: undefined });
      const second = await servers.start({ databaseUrl: undefined, dataDir: first.dataDir });
      const name = await register(first, "embedded-pair");
      const held = await second.client.acquire({ repository: name });
      const pid = postgresPid(first.dataDir);
      await first.kill9();
      await tookOver(second, takeOverMs);
      await second.client.heartbeat(held);
      await second.client.releaseAndClean(held);
      expect(postgresPid(first.dataDir)).toBe(pid);
      await second.stop();
      expect(postgresPid(first.dataDir)).toBeUndefined();
    },
    limitMs,
  );

  it(
    "A4 G12 a lease that ran out while nobody owned its host is not ended by whoever comes next",
    async () => {
      const databaseUrl = await servers.database();
      const server = await servers.start({ databaseUrl });
      const held = await server.client.acquire({ repository: await register(server, "outage") });
      await server.kill9();
      const sql = servers.sql(databaseUrl);
      await sql`update leases set expire_time = clock_timestamp() - interval '1 hour'`;
      await sql`update hosts set well_time = clock_timestamp() - interval '2 hours', seen_time = clock_timestamp() - interval '1 hour'`;
      await server.start();
      // two looks of the one that expires: a bystander whose time to live is short shows that it does
      const other = await server.client.acquire({ repository: "outage" });
      await sql`update leases set ttl = interval '1 ms', expire_time = clock_timestamp() - interval '1 ms'
               where workspace_id = ${other.workspaceId.slice(1)}`;
      await server.client.whenIn(other.workspaceId, WorkspaceState.IDLE);
      await server.client.heartbeat(held);
      await server.client.release(held);
      await server.stop();
    },
    limitMs,
  );
});

describe("on several hosts", () => {
  it(
    "G6 `*` takes the host that has an idle workspace, then any that is owned; a named one without owner is refused",
    async () => {
      const databaseUrl = await servers.database();
      const [east, west] = await Promise.all(["east", "west"].map((host) => servers.start({ databaseUrl, host })));
      if (!east || !west) throw new Error("two servers");
      const name = await register(east, "hosts");
      const there = await east.client.acquire({ repository: name, host: "west" });
      expect(there.answer.workspace).toMatchObject({ host: "west", path: expect.stringContaining(west.dataDir) });
      await east.client.releaseAndClean(there);
      const any = await east.client.acquire({ repository: name, host: "*" });
      expect(any.answer.lease?.host).toBe("west");
      const here = await east.client.acquire({ repository: name });
      expect(here.answer.lease?.host).toBe("east");
      await west.kill9();
      const unavailable = await until("west counts as away", async () => {
        const refused = await refusal(east.client.acquire({ repository: name, host: "west" }, undefined, 2_000));
        return refused.reason === "HOST_UNAVAILABLE" && refused;
      });
      expect(unavailable).toMatchObject({ code: Code.Unavailable, metadata: { host: "west" } });
      expect(unavailable.retryMs).toBeGreaterThan(0);
      const still = await east.client.acquire({ repository: name, host: "*" });
      expect(still.answer.lease?.host).toBe("east");
      // what lives there lives on: any server renews and ends it
      await east.client.heartbeat(any);
      await east.client.release(any);
      await east.client.release(here);
      await east.client.release(still);
      const { hosts } = await east.client.admin.listHosts({});
      expect(hosts.map((host) => [host.name, host.owned])).toEqual([
        ["east", true],
        ["west", false],
      ]);
      await west.start();
      await west.client.whenIn(any.workspaceId, WorkspaceState.IDLE);
      await Promise.all([east.stop(), west.stop()]);
    },
    limitMs,
  );
});
