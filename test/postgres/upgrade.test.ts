import { expect, test } from "vitest";
import { connectPool } from "../../src/postgres/client.js";
import { migrate, readMigrations } from "../../src/postgres/migrate.js";
import { createDatabase } from "../support/database.js";

/** The last migration of the release before verification, bindings and sessions. */
const earlier = 10;

test("G1 G12 a database of the release before is brought up: what is idle is verified first, and leases go on", async () => {
  const database = await createDatabase();
  const sql = connectPool(database.connection, { max: 1, name: "test" });
  try {
    await sql.unsafe("drop schema leasehold cascade");
    await sql.unsafe("create schema leasehold");
    await sql.unsafe(`create table migrations (id int primary key, name text not null, checksum text not null,
      apply_time timestamptz not null default clock_timestamp())`);
    const migrations = await readMigrations();
    for (const { id, name, checksum, text } of migrations.filter((one) => one.id <= earlier)) {
      await sql.unsafe(text);
      await sql`insert into migrations (id, name, checksum) values (${id}, ${name}, ${checksum})`;
    }
    await sql`insert into hosts (name, data_id) values ('here', gen_random_uuid())`;
    await sql`insert into repositories (name, url, min_idle, max_workspaces, stable_path, credential, labels, paused)
      values ('demo', '/demo.git', 0, 5, false, '', '{}', false)`;
    await sql`insert into workspaces (repository_id, host_id, state, path, commit_id, idle_time, problem)
      values (1, 1, 'IDLE', '/w1', 'c', now(), ''), (1, 1, 'LEASED', '/w2', 'c', null, ''), (1, 1, 'QUARANTINED', '/w3', 'c', null, 'x')`;
    await sql`insert into leases (workspace_id, fence, ticket_id, caller, holder, revision, commit_id, labels, source, timings, ttl,
        expire_time)
      select id, fence, 1, '', 'me', '', 'c', '{}', 'WARM', '[]', '1 minute', now() + interval '1 minute' from workspaces
       where state = 'LEASED'`;
    expect(await migrate(database.connection)).toBe(migrations.length - earlier);
    const after = await sql<{ path: string; state: string; live: boolean }[]>`
      select w.path, w.state, l.end_time is null and l.fence is not null as live from workspaces w
        left join leases l on l.workspace_id = w.id order by w.path`;
    expect(after).toEqual([
      { path: "/w1", state: "CLEANING", live: false },
      { path: "/w2", state: "LEASED", live: true },
      { path: "/w3", state: "QUARANTINED", live: false },
    ]);
    const told = await sql<{ previous_state: string; state: string }[]>`select previous_state, state from outbox`;
    expect(told).toEqual([{ previous_state: "IDLE", state: "CLEANING" }]);
    const [ended] = await sql<{ outcome: string }[]>`
      select (end_lease(l.workspace_id, l.fence, 'RELEASED', false, false)).outcome from leases l`;
    expect(ended?.outcome).toBe("ended");
  } finally {
    await sql.end({ timeout: 1 });
    await database.drop();
  }
});
