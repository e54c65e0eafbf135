/** Nothing that a bound holder left is lost or changed, wherever a server is killed while it parks or comes back. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { beforeAll, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition, WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Sql } from "../../src/postgres/client.js";
import { persist } from "../support/holders.js";
import { expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import type { Client, Held } from "../support/rpc-client.js";
import { chance } from "../support/sample.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { git, Upstream } from "../support/upstream.js";

const patience = { timeout: 120_000 };
const servers = useServers();
let server: ServerProcess;
let client: Client;
let sql: Sql;
let upstream: Upstream;

beforeAll(async () => {
  const root = await servers.directory();
  const databaseUrl = await servers.database();
  server = await servers.start({ databaseUrl });
  client = server.client;
  sql = servers.sql(databaseUrl);
  upstream = await Upstream.make(root, "parked");
  await client.admin.registerRepository({ repository: { name: "parked", url: upstream.url } });
});

const comeBack = (requestId: string): Promise<Held> =>
  persist("the holder is back", () =>
    client.acquire({ repository: "parked", binding: "desk", requestId, ttlMs: 600_000, waitMs: 30_000 }),
  );

const park = (held: Held) =>
  persist("it is parked", () => client.release(held, { disposition: Disposition.PARK, waitForClean: true }));

async function killAfter(ms: number): Promise<void> {
  await pause(ms);
  await server.kill9();
  await server.start();
}

it(
  "D1 B2 killed at random while it parks and while its holder comes back, the files are as they were",
  patience,
  async () => {
    let held = await comeBack("first");
    const { workspaceId, path } = held;
    await git(path, "checkout", "-q", "-b", "topic");
    for (let round = 1; round <= 3; round++) {
      await writeFile(join(path, "notes.txt"), `round ${round}\n`);
      await git(path, "commit", "-q", "--allow-empty", "-m", `round ${round}`);
      const before = await git(path, "status", "--porcelain=v2", "--branch", "--ignored");
      const parking = park(held);
      await killAfter(chance(30));
      await parking;
      expect((await client.get(workspaceId)).state).toBe(WorkspaceState.PARKED);
      const tip = await upstream.commit({ "upstream.txt": `${round}\n` });
      const coming = comeBack(`round ${round}`);
      await killAfter(chance(150));
      held = await coming;
      expect(held).toMatchObject({ workspaceId, path, answer: { source: WorkspaceSource.BOUND, lostSalvageId: "" } });
      expect(await readFile(join(path, "notes.txt"), "utf8")).toBe(`round ${round}\n`);
      expect(await git(path, "status", "--porcelain=v2", "--branch", "--ignored")).toBe(before);
      expect((await git(path, "log", "-1", "--format=%s", "topic")).trim()).toBe(`round ${round}`);
      expect((await git(path, "rev-parse", "origin/main")).trim()).toBe(tip);
      expect(await git(path, "fsck", "--full", "--no-dangling")).toBe("");
    }
    await client.release(held, { waitForClean: true });
    await settled(sql, server.dataDir);
    await expectSoundStore(sql);
    await expectSoundDisk(sql, server.dataDir);
  },
);

it("D1 B2 killed while a bound lease runs out, it is parked and comes back whole", patience, async () => {
  const held = await comeBack("running out");
  await writeFile(join(held.path, "notes.txt"), "mine\n");
  // an owner must have been well for a whole TTL before it ends a lease
  await sql`update leases set ttl = interval '1 ms', expire_time = clock_timestamp() - interval '1 second' where end_time is null`;
  await killAfter(chance(1_000));
  await client.whenIn(held.workspaceId, WorkspaceState.PARKED);
  const again = await comeBack("after it ran out");
  expect(again).toMatchObject({ workspaceId: held.workspaceId, path: held.path });
  expect(await readFile(join(again.path, "notes.txt"), "utf8")).toBe("mine\n");
  await client.release(again, { waitForClean: true });
});
