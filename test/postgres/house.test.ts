/** Clearing away behind: what goes, what stays, and that it costs no more than what goes. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { connectPool } from "../../src/postgres/client.js";
import { finishDueWork, lease, makeIdle, openStoreFixture, openTicket, type StoreFixture } from "../support/store.js";
import { session } from "../support/store-sessions.js";

let fixture: StoreFixture;
beforeEach(async () => {
  fixture = await openStoreFixture();
});
afterEach(() => fixture.close());

test("E1 an open session is closed with its repository, so that no later one of its name reopens it", async () => {
  const { store } = fixture;
  const parked = await session(fixture, "mine", undefined, true);
  const live = await session(fixture, "other", undefined, false);
  await store.repositories.remove("demo", true);
  await finishDueWork(store);
  expect(await store.repositories.finishRemovals(["demo"])).toEqual(["demo"]);
  for (const { id } of [parked, live]) {
    expect(await store.sessions.find(id)).toMatchObject({ state: "CLOSED", closeReason: "RESET" });
  }
  const { newest } = await store.events.publish();
  const events = await store.events.read(1n, Number(newest));
  const told = events.filter(({ kind }) => kind === "SESSION_CLOSED" || kind === "REPOSITORY_REMOVED");
  expect(told.map(({ kind, sessionId }) => [kind, sessionId])).toEqual([
    ["SESSION_CLOSED", parked.id],
    ["SESSION_CLOSED", live.id],
    ["REPOSITORY_REMOVED", ""],
  ]);
});

test("A1 a repository whose mirror is not out of the way keeps its name", async () => {
  const { store } = fixture;
  await store.repositories.remove("demo", false);
  expect(await store.repositories.removable()).toEqual(["demo"]);
  expect(await store.repositories.finishRemovals([])).toEqual([]);
  expect(await store.repositories.byName("demo")).toBeDefined();
});

test("G3 a request id is remembered for 24 h after its lease ended, and no longer than the lease itself", async () => {
  const { store, sql } = fixture;
  const ended = async (requestId: string, hours: number) => {
    const ticket = await openTicket(fixture, store, requestId);
    const wanted = { commit: "c", head: "", refsVersion: 1n };
    const granted = await store.tickets.grant({
      ...{ ticketId: ticket, ...wanted, workspaceRoot: "/workspaces", mayMake: true, url: fixture.repository.url },
    });
    if (granted.kind !== "granted") throw new Error(granted.kind);
    const request = { ticketId: ticket, key: granted.key, ...wanted, source: "CREATED", timings: [] } as const;
    const grant = await store.tickets.activate(request);
    if (!grant) throw new Error("not activated");
    await store.leases.end(grant.lease, "RELEASED", "CLEAN");
    await finishDueWork(store);
    await sql`update tickets set create_time = now() - make_interval(hours => ${hours + 1}) where id = ${String(ticket)}`;
    await sql`update leases set end_time = now() - make_interval(hours => ${hours}) where ticket_id = ${String(ticket)}`;
    return { ticket, lease: grant.lease };
  };
  const young = await ended("young", 23);
  const old = await ended("old", 25);
  const unkept = await ended("", 1);
  await store.work.keepHouse(7 * 86_400_000);
  const kinds = async () =>
    Promise.all([young, old, unkept].map(async ({ ticket }) => (await store.tickets.read(ticket)).kind));
  expect((await kinds()).map((kind) => kind === "gone")).toEqual([false, true, true]);
  expect(await store.leases.find(old.lease)).toBeDefined();
  // whatever forgets a lease forgets its ticket with it
  await sql`delete from leases where fence = ${String(young.lease.fence)}`;
  expect((await kinds())[0]).toBe("gone");
});

test("keeping house reads what is to go, not every lease and ticket that is remembered", async () => {
  await makeIdle(fixture, 1);
  await lease(fixture);
  // one connection, so that what it has read is counted when that is asked for
  const sql = connectPool(fixture.database.connection, { max: 1, name: "test" });
  await sql.unsafe(`
    insert into leases (workspace_id, fence, ticket_id, caller, holder, revision, commit_id, labels, source, timings, ttl, expire_time,
                        acquire_time, end_time, end_reason)
    select (select min(id) from workspaces), 1000 + n, n, '', '', '', '', '{}', 'WARM', '[]', '1 minute', now(), now() - interval '2 hours',
           now() - interval '1 hour', 'RELEASED' from generate_series(1, 20000) n;
    insert into tickets (caller, request_id, kept, digest, repository_id, host_id, spec, state, workspace_id, fence)
    select '', 'r' || l.fence, true, 'd', 1, 1, '{}', 'LEASED', l.workspace_id, l.fence from leases l where l.fence > 1000`);
  await sql`analyze`;
  const read = async () => {
    await sql`select pg_stat_force_next_flush()`;
    await sql`select pg_stat_clear_snapshot()`;
    const rows = await sql<{ relname: string; rows: number }[]>`
      select relname, (seq_tup_read + coalesce(idx_tup_fetch, 0))::float8 as rows from pg_stat_user_tables
       where schemaname = 'leasehold' and relname in ('leases', 'tickets', 'workspaces') order by relname`;
    return rows.map(({ rows: n }) => n);
  };
  const before = await read();
  await sql`select keep_house(interval '7 days')`;
  const after = await read();
  for (const [index, rows] of after.entries()) expect(rows - (before[index] ?? 0)).toBeLessThan(100);
  expect(await sql`select from tickets where kept`).toHaveLength(20_000);
  await sql.end();
});
