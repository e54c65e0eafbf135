import { afterEach, beforeEach, expect, test } from "vitest";
import { beside } from "../../src/domain/workspace-directory.js";
import { finishDueWork, grant, lease, openStoreFixture, openTicket, type StoreFixture } from "../support/store.js";
import { until } from "../support/until.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture();
});
afterEach(() => fixture.close());

const killOwnersSession = (f: StoreFixture) =>
  f.sql`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 71 and granted and database = (select oid from pg_database where datname = current_database())`;

test("G10 one server owns a host; another takes over when the owner's session ends", async () => {
  const second = await fixture.another();
  await second.ownership.start();
  expect([fixture.store.ownership.owner, second.ownership.owner]).toEqual([true, false]);
  const { signal } = fixture.store.ownership;
  await fixture.store.ownership.stop();
  expect(signal.aborted).toBe(true);
  await until("the second server owns the host", () => second.ownership.owner, 2_000);
});

test("G12 the owner whose session was killed is owner no more at once, and gains it again as a new one", async () => {
  const { store, sql } = fixture;
  const claimed = await openTicket(fixture).then((ticket) => grant(store, ticket));
  if (claimed.kind !== "granted") throw new Error(claimed.kind);
  const { signal } = store.ownership;
  await killOwnersSession(fixture);
  await until("ownership is lost", () => signal.aborted, 5_000);
  await until("ownership is gained again", () => store.ownership.owner, 5_000);
  // what was claimed before is refused: the workspace is taken up anew
  expect(await store.work.finishWork(claimed.key, { kind: "retired" })).toBe(false);
  const work = await store.work.claimWork([], "/workspaces", 10);
  expect(work.map((due) => [due.key.workspaceId, due.kind])).toEqual([[claimed.key.workspaceId, "clean"]]);
  const [row] = await sql<
    { n: number }[]
  >`select count(*)::int as n from pg_locks where locktype = 'advisory' and classid = 71 and granted and database = (select oid from pg_database where datname = current_database())`;
  expect(row?.n).toBe(1);
});

test("a host name belongs to one data directory", async () => {
  await fixture.another("second-host");
  await expect(fixture.another("second-host")).rejects.toThrow(/--host/);
});

test("no lease expires unless its host's owner has been well for its whole time to live", async () => {
  const { store, sql } = fixture;
  const { lease: held } = await lease(fixture);
  await sql`update leases set expire_time = now() - interval '1 hour'`;
  expect(await store.leases.expire()).toBe(0);
  await sql`update hosts set well_time = greatest(now() - interval '59 seconds', pg_postmaster_start_time())`;
  expect(await store.leases.expire()).toBe(0);
  // a heartbeat still renews it, though it is overdue
  expect((await store.leases.renew([held]))[0]?.remainingMs).toBeGreaterThan(59_000);
  await sql`update leases set expire_time = now() - interval '1 hour'`;
  await sql`update hosts set well_time = now() - interval '61 seconds', seen_time = now()`;
  expect(await store.leases.expire()).toBe(1);
  expect((await store.leases.find(held))?.endReason).toBe("EXPIRED");
  // and afterwards never
  expect(await store.leases.renew([held])).toEqual([undefined]);
});

test("a beat that was missed or failed sets back since when the owner is well", async () => {
  const { store, sql } = fixture;
  const wellTime = async () => (await store.hosts.list("", 1))[0]?.wellTime?.getTime() ?? 0;
  const before = await wellTime();
  await sql`update hosts set seen_time = now() - interval '4 seconds'`;
  await until("the next beat", async () => (await wellTime()) > before, 5_000);
});

test("G2 what a lease left is salvaged first, however it ended", async () => {
  const { store, sql } = fixture;
  const released = await lease(fixture);
  await lease(fixture);
  await store.leases.end(released.lease, "RELEASED", "CLEAN");
  await sql`update leases set expire_time = now() - interval '1 hour' where end_time is null`;
  await sql`update hosts set well_time = now() - interval '1 hour', seen_time = now()`;
  await store.leases.expire();
  const work = await store.work.claimWork([], "/workspaces", 10);
  const guards = new Map(work.map((due) => [due.key.workspaceId, due.guardWork]));
  expect(guards.get(released.workspace.id)).toBe(true);
  expect([...guards.values()]).toEqual([true, true]);
});

test("a release that comes twice, late, or with an older fence changes nothing", async () => {
  const { store } = fixture;
  const first = await lease(fixture);
  expect((await store.leases.end(first.lease, "RELEASED", "CLEAN")).kind).toBe("ended");
  await finishDueWork(store);
  const second = await lease(fixture);
  expect(second.workspace.id).toBe(first.workspace.id);
  const again = await store.leases.end(first.lease, "RELEASED", "CLEAN");
  expect(again).toMatchObject({ kind: "already", reason: "RELEASED" });
  expect((await store.pool.get(second.workspace.id))?.lease?.fence).toBe(second.lease.fence);
});

test("file work that fails is tried again later, and ends in quarantine with its problem", async () => {
  const { store, sql } = fixture;
  const { lease: held, workspace } = await lease(fixture);
  await store.leases.end(held, "RELEASED", "CLEAN");
  for (let attempt = 1; attempt <= 5; attempt++) {
    const [work] = await store.work.claimWork([], "/workspaces", 1);
    expect(work?.attempt).toBe(attempt);
    await store.work.finishWork(work?.key ?? held, { kind: "failed", problem: "the disk is on fire" });
    expect(await store.work.claimWork([], "/workspaces", 1)).toEqual([]);
    await sql`update workspaces set retry_time = now() - interval '1 second' where retry_time is not null`;
  }
  expect(await store.pool.get(workspace.id)).toMatchObject({ state: "QUARANTINED", problem: "the disk is on fire" });
});

test("B2 G12 of the directories on disk, only those that a row has left behind are leftovers", async () => {
  const { store } = fixture;
  const { workspace } = await lease(fixture);
  const { path, id } = workspace;
  const root = path.slice(0, path.lastIndexOf("/"));
  // nor one that has the name of another repository's, or a fence that was never given
  const strangers = [
    `${root}/w999.1`,
    `${root}/notes`,
    `${root}/${id}.1x`,
    `${root}/${id}.77`,
    `/other/theirs/${id}.1`,
  ];
  const left = [`${root}/${id}`, ...Object.values(beside).map((suffix) => path + suffix)];
  expect(await store.work.leftovers([path, ...strangers, ...left])).toEqual(left);
});

test("G10 a server that was away for days is told of again, and its callers' requests are served", async () => {
  const { store, sql } = fixture;
  const away = await fixture.another("away-host");
  const ticketId = await openTicket(fixture, away);
  const [ticket] = await sql<{ server_id: string }[]>`select server_id from tickets where id = ${String(ticketId)}`;
  const desk = ticket?.server_id ?? "";
  await sql`update servers set seen_time = now() - interval '2 days' where id = ${desk}`;
  await store.work.keepHouse(1);
  expect(await sql`select from servers where id = ${desk}`).toHaveLength(0);
  await away.ownership.start();
  await until(
    "it is told of again",
    async () => (await sql`select from servers where id = ${desk}`).length === 1,
    5_000,
  );
  expect(await grant(store, await openTicket(fixture, away))).toMatchObject({ kind: "granted" });
});

test("G2 G10 a host that was removed is owned by nobody: its server comes back as a new one, and trashes nothing of the old", async () => {
  const { store, sql } = fixture;
  const { workspace, lease: held } = await lease(fixture);
  await store.leases.end(held, "RELEASED", "CLEAN");
  const standby = await fixture.another();
  // cut off from the database for longer than an owner may be, and without its lock
  await store.ownership.stop();
  await sql`update hosts set seen_time = now() - interval '1 minute'`;
  expect(await store.hosts.remove("test-host", false)).toEqual({ kind: "removed" });
  const before = standby.ownership.host.id;
  await standby.ownership.start();
  await until("the host is owned again", () => standby.ownership.owner, 5_000);
  expect(standby.ownership.host).toMatchObject({ name: "test-host" });
  expect(standby.ownership.host.id).not.toBe(before);
  expect((await standby.hosts.list("", 10)).map(({ name, owned }) => [name, owned])).toEqual([["test-host", true]]);
  expect(await standby.work.leftovers([workspace.path])).toEqual([]);
  // under its new number it does what an owner does
  const ticketId = await openTicket({ ...fixture, store: standby }, standby);
  expect(await grant(standby, ticketId)).toMatchObject({ kind: "granted" });
});

test("G2 a directory that may hold unsaved work is no leftover, whatever its row says", async () => {
  const { store, sql } = fixture;
  const { workspace, lease: held } = await lease(fixture);
  await store.leases.end(held, "RELEASED", "CLEAN");
  await sql`update workspaces set state = 'RETIRED', fence = fence + 1, worker = null`;
  expect(await store.work.leftovers([workspace.path])).toEqual([]);
  await sql`update workspaces set guard_work = false`;
  expect(await store.work.leftovers([workspace.path])).toEqual([workspace.path]);
});
