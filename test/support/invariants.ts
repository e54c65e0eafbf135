/** Owns: what must hold of the store and the disk whatever has happened, once the owner has done what was due. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { Sql } from "../../src/postgres/client.js";
import type { Held } from "./rpc-client.js";
import { until } from "./until.js";

/** Resolves when no workspace is unfinished, no event unpublished, and the trash of the data directory is empty. */
export async function settled(sql: Sql, dataDir: string, limitMs = 40_000): Promise<void> {
  let last: unknown;
  const look = async () => {
    const [row] = await sql<{ unfinished: number; unpublished: number }[]>`
      select (select count(*)::int from workspaces where state in ('PREPARING', 'CLEANING')) as unfinished,
             (select count(*)::int from outbox) as unpublished`;
    const trash = (await readdir(join(dataDir, "trash"))).length;
    last = { ...row, trash };
    return row?.unfinished === 0 && row.unpublished === 0 && trash === 0;
  };
  await until("everything that is due is done", look, limitMs).catch((error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(last)}`);
  });
}

/** `oldest`: the first revision that is kept. */
export async function expectSoundStore(sql: Sql, oldest = 1n): Promise<void> {
  const twice = await sql`select workspace_id from leases where end_time is null group by 1 having count(*) > 1`;
  expect(twice, "a workspace has two live leases").toEqual([]);
  const odd = await sql`
    select w.id, w.state, w.fence, l.fence as lease from workspaces w
      full join leases l on l.workspace_id = w.id and l.end_time is null
     where (w.state = 'LEASED') <> (l.fence is not null) or w.fence <> l.fence`;
  expect(odd, "leases and states differ").toEqual([]);
  const [log] = await sql<{ n: string; low: string; high: string; newest: string; oldest: string }[]>`
    select count(*) as n, min(revision) as low, max(revision) as high, max(m.newest_revision) as newest, max(m.oldest_revision) as oldest
      from events, meta m`;
  expect(log, "revisions have gaps").toEqual({
    n: String(BigInt(log?.newest ?? 0) - oldest + 1n),
    low: String(oldest),
    high: log?.newest,
    newest: log?.newest,
    oldest: String(oldest),
  });
  const jumps = await sql`
    select * from (
      select workspace_id, revision, version, lag(version, 1, 0::bigint) over (partition by workspace_id order by revision) as before,
             state is distinct from previous_state as moved
        from events where workspace_id is not null) e
     where version <> before + case when moved then 1 else 0 end`;
  expect(jumps, "versions of a workspace are not consecutive").toEqual([]);
  const behind = await sql`
    select w.id, w.version, w.state, e.version as told, e.state as told_state from workspaces w
      left join lateral (select version, state from events where workspace_id = w.id order by revision desc limit 1) e on true
     where w.version is distinct from e.version or w.state is distinct from e.state`;
  expect(behind, "a workspace has moved without its event").toEqual([]);
  const untold = await sql`
    select l.workspace_id, l.fence, l.end_reason, count(*) filter (where e.kind = 'LEASE_ACQUIRED') as begun,
           count(*) filter (where e.kind = 'LEASE_ENDED' and e.reason = l.end_reason) as ended
      from leases l left join events e on e.workspace_id = l.workspace_id and e.lease_fence = l.fence
     group by 1, 2, 3
    having count(*) filter (where e.kind = 'LEASE_ACQUIRED') <> 1
        or count(*) filter (where e.kind = 'LEASE_ENDED' and e.reason = l.end_reason) <> (l.end_reason is not null)::int`;
  expect(untold, "a lease's begin or end was not told exactly once").toEqual([]);
}

/** No directory that no row knows, and none missing. Not while workspaces are unfinished. */
export async function expectSoundDisk(sql: Sql, dataDir: string, host?: string): Promise<void> {
  const rows = await sql<{ id: string; path: string; name: string }[]>`
    select w.id, w.path, r.name from workspaces w join repositories r on r.id = w.repository_id join hosts h on h.id = w.host_id
     where w.state <> 'RETIRED' and h.name = coalesce(${host ?? null}, h.name)`;
  const root = join(dataDir, "workspaces");
  const found: string[] = [];
  for (const repository of await readdir(root)) {
    for (const name of await readdir(join(root, repository))) found.push(join(root, repository, name));
  }
  expect(found.sort(), "directories and rows differ").toEqual(rows.map(({ path }) => path).sort());
  const indexes = await readdir(join(dataDir, "indexes"));
  const known = new Set(rows.map(({ id }) => `w${id}`));
  expect(
    indexes.filter((name) => !known.has(name)),
    "trusted indexes of no workspace",
  ).toEqual([]);
  const mirrors = await readdir(join(dataDir, "mirrors"));
  const hidden = await Promise.all(
    mirrors.filter((name) => name.startsWith(".")).map((name) => readdir(join(dataDir, "mirrors", name))),
  );
  expect(hidden.flat(), "half-made mirrors are left").toEqual([]);
}

/** Every lease that a holder was told of is in the store, lives or was ended for a reason that the holder may know. */
export async function expectHonoured(sql: Sql, held: readonly Held[], reasons: readonly string[]): Promise<void> {
  const rows = await sql<{ lease: string; reason: string | null }[]>`
    select 'w' || workspace_id || '.' || fence as lease, end_reason as reason from leases`;
  const ends = new Map(rows.map(({ lease, reason }) => [lease, reason]));
  const dishonoured = held.filter(({ leaseId }) => {
    const reason = ends.get(leaseId);
    return reason === undefined || (reason !== null && !reasons.includes(reason));
  });
  expect(dishonoured.map(({ leaseId }) => [leaseId, ends.get(leaseId)])).toEqual([]);
}
