/** Kept dependencies are in one place, wherever a server is killed on their way out of a workspace or into one. */
import { access, readdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { connectPool, type Sql } from "../../src/postgres/client.js";
import { acquireWith, installOnce, makeUpstream, stateOf, wishes, write } from "../support/dependencies.js";
import type { Client } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let databaseUrl: string;
let sql: Sql;
let name: string;
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
  const { url } = await makeUpstream(root, name);
  await client.admin.registerRepository({ repository: { name, url } });
});

/** Holds the server while it stores a change of the table. Answers how to let it go on. */
async function hold(table: string, change: string, action: () => Promise<unknown>) {
  await sql.unsafe(`create function leasehold.hold() returns trigger language plpgsql as $$ begin
    if ${change} then perform pg_advisory_xact_lock(4712); end if; return new; end $$`);
  await sql.unsafe(`create trigger hold before insert or update on leasehold.${table}
    for each row execute function leasehold.hold()`);
  const lock = connectPool({ url: databaseUrl }, { max: 1, name: "test lock" });
  await lock`select pg_advisory_lock(4712)`;
  const done = action().catch(() => undefined);
  await until("the server waits for the lock", async () => {
    const [row] = await sql<{ waits: boolean }[]>`
      select exists (select from pg_locks where locktype = 'advisory' and objid = 4712 and not granted) as waits`;
    return row?.waits;
  });
  return { lock, done };
}

/** Kills the server while it stores a change of the leases, which then does not happen, and starts it again. */
async function killWhile(change: string, action: () => Promise<unknown>): Promise<void> {
  const { lock, done } = await hold("leases", change, action);
  await server.kill9();
  await done;
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'leasehold %'`;
  await lock.end({ timeout: 1 });
  await sql`drop function leasehold.hold cascade`;
  await server.start();
}

/** Directories of the repository's store but the caches. */
async function stored(): Promise<string[]> {
  const names = await readdir(join(server.dataDir, "dependencies", name)).catch(() => []);
  return names.filter((found) => found !== "caches");
}

it("A7 B2 killed between keeping and cleaning, it is kept, and the workspace gets clean", {
  timeout: 120_000,
}, async () => {
  const held = await acquireWith(client, name);
  await write(held.path, { "node_modules/x.js": "x", ".venv/y.py": "y" });
  await killWhile("tg_op = 'UPDATE' and new.dependencies_settled and not old.dependencies_settled", () =>
    client.release(held, { dependenciesInstalled: true }),
  );
  await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  expect(await stored()).toEqual([held.leaseId]);
  const next = await acquireWith(client, name);
  expect(stateOf(next)).toBe("READY");
  await access(join(next.path, "node_modules/x.js"));
  expect(await stored()).toEqual([]);
  expect(await git(next.path, "status", "--porcelain", "--ignored")).toBe("!! node_modules/");
});

it("A7 B2 killed between placing and the lease's birth, no lease finds half of it", { timeout: 120_000 }, async () => {
  await installOnce(client, name);
  await killWhile("tg_op = 'INSERT'", () => acquireWith(client, name));
  await until("nothing is on its way", async () => (await stored()).length === 0);
  const [plain, next] = [await client.acquire({ repository: name }), await acquireWith(client, name)];
  expect(await git(plain.path, "status", "--porcelain", "--ignored")).toBe("");
  expect(stateOf(next)).toBe("MISSING");
  expect(await git(next.path, "status", "--porcelain", "--ignored")).toBe("");
});

it("A7 G1 what was placed for a caller that has gone stays in no idle workspace", { timeout: 120_000 }, async () => {
  const { workspaceId } = await installOnce(client, name);
  const gone = new AbortController();
  const { dependencyManifests, keepPaths } = wishes;
  const request = { repository: name, dependencyManifests: [...dependencyManifests], keepPaths: [...keepPaths] };
  const { lock, done } = await hold("workspaces", "new.dependencies is distinct from old.dependencies", () =>
    client.acquire(request, gone.signal),
  );
  gone.abort();
  await until("nobody waits for it", async () => {
    const [row] = await sql<
      { n: number }[]
    >`select count(*)::int as n from tickets where state = 'GRANTED' and server_id is null`;
    return row?.n === 1;
  });
  await lock.end({ timeout: 1 });
  await done;
  await until("it is given back", async () => (await client.get(workspaceId)).state === WorkspaceState.IDLE);
  await sql`drop function leasehold.hold cascade`;
  const plain = await client.acquire({ repository: name });
  expect(plain.workspaceId).toBe(workspaceId);
  expect(await git(plain.path, "status", "--porcelain", "--ignored")).toBe("");
});
