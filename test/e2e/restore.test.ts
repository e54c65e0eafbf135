/** A database that is restored from a backup does not know what was given out since: docs/operating.md, "Restore". */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import { refusal } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
/** A server that was just started has no workers yet. */
const patienceMs = 60_000;

it("G4 G2 after a restore nothing that was given out since the backup is given out again, and its work is salvaged", async () => {
  const root = await servers.directory();
  const dataDir = join(root, "data");
  const upstream = await Upstream.make(root, "demo");
  const live = await servers.database();
  const before = await servers.start({ databaseUrl: live, dataDir });
  await before.client.admin.registerRepository({ repository: { name: "demo", url: upstream.url } });
  const early = await before.client.acquire({ repository: "demo", ttlMs: 3_600_000 });
  const passed = await before.client.releaseAndClean(await before.client.acquire({ repository: "demo" }));
  await before.stop();

  // the backup
  const name = `${new URL(live).pathname.slice(1)}_backup`;
  const admin = servers.sql(await servers.database());
  servers.atEnd(() => admin.unsafe(`drop database if exists ${name} with (force)`));
  await admin.unsafe(`create database ${name} template ${new URL(live).pathname.slice(1)}`);

  // what it does not know: a workspace that was idle then and is leased now, another one, and events
  await before.start();
  const late = await before.client.acquire({ repository: "demo", ttlMs: 3_600_000 });
  const later = await before.client.acquire({ repository: "demo", ttlMs: 3_600_000, requestId: "later" });
  expect(late.workspaceId).toBe(passed.workspaceId);
  for (const held of [early, late, later]) await writeFile(join(held.path, "work.txt"), `of ${held.leaseId}`);
  const { revision, storeId } = await before.client.workspaces.listActive({});
  await before.stop();

  // the restore
  const databaseUrl = live.replace(/\/[^/]+$/, `/${name}`);
  const sql = servers.sql(databaseUrl);
  expect(await sql`select renew_store() as ended`).toEqual([{ ended: 1 }]);
  const [{ oldest = "" } = {}] = await sql<{ oldest?: string }[]>`select oldest_revision as oldest from meta`;
  const after = await servers.start({ databaseUrl, dataDir });
  const { client } = after;

  for (const { leaseId, leaseToken } of [early, late, later]) {
    expect(await refusal(client.workspaces.heartbeat({ leaseId, leaseToken }))).toMatchObject({
      reason: "TOKEN_INVALID",
    });
  }
  expect(await refusal(client.events(revision, { storeId }))).toMatchObject({ reason: "STORE_CHANGED" });

  // their directories are salvaged and gone
  const salvages = await until(
    "all work is saved",
    async () => {
      const found = (await client.admin.listSalvages({ repository: "demo" })).salvages;
      return found.length === 3 && found;
    },
    patienceMs,
  );
  const works = await Promise.all(salvages.map((one) => git(one.repositoryPath, "show", `${one.ref}:work.txt`)));
  expect(works.sort()).toEqual([early, late, later].map(({ leaseId }) => `of ${leaseId}`).sort());
  await until("they are gone", () => [early, late, later].every(({ path }) => !existsSync(path)), patienceMs);

  // and what is leased now is none of theirs
  const next = await Promise.all([0, 1, 2].map(() => client.acquire({ repository: "demo", requestId: "" })));
  for (const held of [...next, await client.acquire({ repository: "demo", requestId: "later" })]) {
    expect([early, late, later].some((one) => one.workspaceId === held.workspaceId || one.path === held.path)).toBe(
      false,
    );
    expect(await git(held.path, "status", "--porcelain")).toBe("");
    expect((await client.get(held.workspaceId)).state).toBe(WorkspaceState.LEASED);
    await client.release(held);
  }
  await settled(sql, dataDir);
  await expectSoundStore(sql, BigInt(oldest));
  await expectSoundDisk(sql, dataDir);
}, 240_000);
