/** No work is ever lost, wherever a server is killed between a lease's end and the clean workspace. */
import { access } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { connectPool, type Sql } from "../../src/postgres/client.js";
import type { Client, Held } from "../support/rpc-client.js";
import { chance } from "../support/sample.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { expectSalvaged, salvageOf, salvagesOf, workUnsaved } from "../support/unsaved.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let databaseUrl: string;
let sql: Sql;
let name: string;
let held: Held;
let repositories = 0;

beforeAll(async () => {
  root = await servers.directory();
  databaseUrl = await servers.database();
  server = await servers.start({ databaseUrl });
  client = server.client;
  sql = servers.sql(databaseUrl);
});

beforeEach(async () => {
  name = `repository-${++repositories}`;
  const { url } = await Upstream.make(root, name);
  held = await client.acquire({ repository: url });
});

/** One salvage, whole, one event, and a workspace that is clean. */
async function expectOnce(mark: string): Promise<void> {
  await idle(held);
  const salvage = await salvageOf(client, held);
  expect(await salvagesOf(client, { leaseId: held.leaseId })).toHaveLength(1);
  await expectSalvaged(salvage, root, mark);
  const created = await client.events(1n, { leaseId: held.leaseId, kinds: [EventKind.SALVAGE_CREATED] });
  expect(created).toHaveLength(1);
}

/** Kills the server while it stores a change of the table, which then does not happen, and starts it again. */
async function killWhileStoring(table: string, change: string): Promise<void> {
  await sql.unsafe(`create function leasehold.hold() returns trigger language plpgsql as $$ begin
    if ${change} then perform pg_advisory_xact_lock(4711); end if; return new; end $$`);
  await sql.unsafe(`create trigger hold before insert or update on leasehold.${table}
    for each row execute function leasehold.hold()`);
  // a session of its own; the driver's transactions are not used here either
  const lock = connectPool({ url: databaseUrl }, { max: 1, name: "test lock" });
  await lock`select pg_advisory_lock(4711)`;
  await client.release(held);
  await until("the server waits for the lock", async () => {
    const [row] = await sql<{ waits: boolean }[]>`
      select exists (select from pg_locks where locktype = 'advisory' and objid = 4711 and not granted) as waits`;
    return row?.waits;
  });
  await server.kill9();
  // what a dead server asked for last must not happen after it
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'leasehold %'`;
  await lock.end({ timeout: 1 });
  await sql`drop function leasehold.hold cascade`;
  await server.start();
}

/** Kills the server, in the first round at once; `hit` is called where the workspace was being cleaned then. */
async function killedWhileCleaning(round: number, withinMs: number, hit: () => void): Promise<void> {
  if (round > 1) await pause(chance(withinMs));
  await server.kill9();
  const [row] = await sql`select state from workspaces where id = ${held.workspaceId.slice(1)}`;
  if (row?.state === "CLEANING") hit();
}

/** A server that was just started has no workers yet: on a busy machine it takes its time to get them. */
const idle = ({ workspaceId }: Held) =>
  until(`${workspaceId} is idle`, async () => (await client.get(workspaceId)).state === WorkspaceState.IDLE, 60_000);

const patience = { timeout: 300_000 };

it("B2 G2 killed after the work was saved and before the store knows, it is saved once", patience, async () => {
  await workUnsaved(held);
  await killWhileStoring("salvages", "true");
  await expectOnce("mark");
});

it("B2 G2 killed after the workspace was cleaned and before the store knows, the work is there", patience, async () => {
  await workUnsaved(held);
  await killWhileStoring("workspaces", "new.state = 'IDLE'");
  await expectOnce("mark");
});

it("B2 G2 killed at random, again and again, nothing is lost and nothing is saved twice", patience, async () => {
  let hits = 0;
  for (let round = 1; round <= 3; round++) {
    const mark = `round ${round}`;
    await workUnsaved(held, mark);
    await client.release(held);
    await killedWhileCleaning(round, 500, () => hits++);
    await server.start();
    await expectOnce(mark);
    held = await client.acquire({ repository: name });
  }
  expect(hits, "kills that met the cleaning").toBeGreaterThan(0);
  await client.release(held, { waitForClean: true });
  expect(await salvagesOf(client, { repository: name })).toHaveLength(3);
});

it("B2 G2 killed while a clean, pushed workspace is cleaned, no salvage comes of it", patience, async () => {
  let hits = 0;
  for (let round = 1; round <= 2; round++) {
    await workUnsaved(held, `round ${round}`);
    await git(held.path, "add", "--all");
    await git(held.path, "commit", "--quiet", "--message", "Pushed");
    await git(held.path, "push", "--quiet", "origin", "main");
    await client.release(held);
    await killedWhileCleaning(round, 300, () => hits++);
    await server.start();
    await idle(held);
    held = await client.acquire({ repository: name });
  }
  expect(hits, "kills that met the cleaning").toBeGreaterThan(0);
  expect(await salvagesOf(client, { repository: name })).toEqual([]);
  const directory = `${server.dataDir}/salvages/${name}.git`;
  expect(
    await access(directory).then(
      () => git(directory, "for-each-ref"),
      () => "",
    ),
  ).toBe("");
});
