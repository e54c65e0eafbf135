/** Salvages in the store: named after leases, made once, seen by whom they concern, and gone for a reason. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { LeaseKey } from "../../src/domain/lease.js";
import type { SavedWork } from "../../src/domain/salvage.js";
import type { Work } from "../../src/ports/workspace-store.js";
import { finishDueWork, lease, openStoreFixture, openTicket, type StoreFixture } from "../support/store.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture();
});
afterEach(() => fixture.close());

const saved: SavedWork = {
  repositoryPath: "/salvages/demo.git",
  ref: "refs/leasehold/salvage/s1.1",
  commit: "d".repeat(40),
  files: 3,
  commits: 2,
  bytes: 1_000,
  incomplete: ["a damaged stash"],
};

async function claimOne(): Promise<Work> {
  const [work] = await fixture.store.work.claimWork([], "/workspaces", 1);
  if (!work) throw new Error("nothing is due");
  return work;
}

/** A lease that has ended, its workspace claimed, and its work saved. */
async function leave(work: SavedWork | undefined = saved): Promise<LeaseKey> {
  const held = await lease(fixture);
  await fixture.store.leases.end(held.lease, "RELEASED", "CLEAN");
  const claimed = await claimOne();
  expect(claimed.guardWork).toBe(true);
  expect(await fixture.store.salvages.settle(claimed.key, work)).toBe(true);
  await fixture.store.work.finishWork(claimed.key, { kind: "idle", commit: "c", head: "", refsVersion: 1n });
  return held.lease;
}

async function eventsOf(kind: string) {
  const { events } = fixture.store;
  const { newest } = await events.publish();
  return (await events.read(1n, Number(newest))).filter((event) => event.kind === kind);
}

test("G2 a salvage is named after the lease that left it, tells whose it was, and is one event", async () => {
  const { store, repository } = fixture;
  const { workspaceId, fence } = await leave();
  const id = `s${workspaceId.slice(1)}.${fence}`;
  const salvage = await store.salvages.find(id);
  expect(salvage).toMatchObject({
    ...saved,
    salvageId: id,
    leaseId: `${workspaceId}.${fence}`,
    workspaceId,
    repository: repository.name,
    holder: "test",
    reason: "RELEASED",
  });
  const kept = (salvage?.expireTime.getTime() ?? 0) - (salvage?.createTime.getTime() ?? 0);
  expect(Math.abs(kept - repository.salvageTtlMs)).toBeLessThan(1_000);
  const [event, more] = await eventsOf("SALVAGE_CREATED");
  expect(event).toMatchObject({
    salvageId: id,
    leaseId: `${workspaceId}.${fence}`,
    holder: "test",
    reason: "RELEASED",
  });
  expect(more).toBeUndefined();
});

test("G2 a claim that was lost settles nothing, and the work is still to be salvaged", async () => {
  const { store, sql } = fixture;
  const { lease: held, workspace } = await lease(fixture);
  await sql`update leases set expire_time = now() - interval '1 hour'`;
  await store.leases.end(held, "EXPIRED", "CLEAN");
  const lost = await claimOne();
  await sql`update workspaces set claim_time = now() - interval '1 minute'`;
  const claimed = await claimOne();
  expect(await store.salvages.settle(lost.key, saved)).toBe(false);
  expect(await store.salvages.settle(lost.key, undefined)).toBe(false);
  expect((await store.salvages.list({}, "", 10)).salvages).toEqual([]);
  expect(claimed).toMatchObject({ key: { workspaceId: workspace.id }, guardWork: true });
});

test("B2 G2 work that was saved twice, since the first answer was lost, is one salvage and one event", async () => {
  const { store, sql } = fixture;
  const held = await lease(fixture);
  await store.leases.end(held.lease, "RELEASED", "CLEAN");
  const { key } = await claimOne();
  const again = { ...saved, commit: "e".repeat(40) };
  await store.salvages.settle(key, saved);
  expect(await store.salvages.settle(key, again)).toBe(true);
  const { salvages } = await store.salvages.list({}, "", 10);
  expect(salvages.map(({ commit }) => commit)).toEqual([again.commit]);
  expect(await eventsOf("SALVAGE_CREATED")).toHaveLength(1);
  // settled is settled: whoever claims it after a crash has nothing to save any more
  await sql`update workspaces set claim_time = now() - interval '1 minute'`;
  expect((await claimOne()).guardWork).toBe(false);
});

test("G2 only what is settled, abandoned or never leased may be destroyed without a salvage", async () => {
  const { store, sql } = fixture;
  const { lease: held, workspace } = await lease(fixture);
  const guarded = async () =>
    (await sql<{ guard_work: boolean }[]>`select guard_work from workspaces where id = ${workspace.id.slice(1)}`)[0]
      ?.guard_work;
  expect(await guarded()).toBe(true);
  await store.pool.reset({ workspaceId: workspace.id, force: true, abandonWork: false });
  const claimed = await claimOne();
  expect(claimed.guardWork).toBe(true);
  await store.work.finishWork(claimed.key, { kind: "quarantined", path: "", problem: "too big" });
  await store.pool.reclaim({ workspaceIds: [workspace.id], leaseIds: [], includeParked: false, dryRun: false });
  const removal = await claimOne();
  expect(removal).toMatchObject({ kind: "remove", guardWork: true });
  await store.work.finishWork(removal.key, { kind: "quarantined", path: "", problem: "too big" });
  const { fence } = (await store.pool.get(workspace.id)) ?? held;
  await store.pool.reset({ workspaceId: workspace.id, expectedFence: fence, force: false, abandonWork: true });
  expect(await guarded()).toBe(false);
  await finishDueWork(store);
  await store.pool.reset({ workspaceId: workspace.id, force: false, abandonWork: false });
  expect((await claimOne()).guardWork).toBe(false);
});

test("G2 what became of a lease's work is told until the salvage is gone", async () => {
  const { store } = fixture;
  const held = await lease(fixture);
  await store.leases.end(held.lease, "RELEASED", "CLEAN");
  expect(await store.salvages.fateOf(held.lease)).toEqual({ kind: "pending" });
  const { key } = await claimOne();
  await store.salvages.settle(key, saved);
  const fate = await store.salvages.fateOf(held.lease);
  expect(fate).toMatchObject({ kind: "saved", salvage: { commit: saved.commit } });
  expect((await store.salvages.ofCleaning([held.workspace.id])).map(({ commit }) => commit)).toEqual([saved.commit]);
  await store.work.finishWork(key, { kind: "idle", commit: "c", head: "", refsVersion: 1n });
  expect(await store.salvages.ofCleaning([held.workspace.id])).toEqual([]);
  // the next holder's work is not this one's
  await lease(fixture);
  expect(await store.salvages.fateOf({ ...held.lease, fence: held.lease.fence + 1n })).toEqual({ kind: "none" });
  if (fate.kind === "saved") await store.salvages.discard(fate.salvage.salvageId);
  expect(await store.salvages.fateOf(held.lease)).toEqual({ kind: "none" });
});

test("G2 salvages are listed in the order of their ids, by filters, in pages", async () => {
  const { store } = fixture;
  const first = await leave();
  const second = await leave({ ...saved, commit: "e".repeat(40) });
  expect(second.workspaceId).toBe(first.workspaceId);
  const { workspaceId } = first;
  const ids = async (filter: Parameters<typeof store.salvages.list>[0], after = "", limit = 10) =>
    (await store.salvages.list(filter, after, limit)).salvages.map(({ salvageId }) => salvageId);
  const both = [first, second].map(({ fence }) => `s${workspaceId.slice(1)}.${fence}`);
  expect(await ids({})).toEqual(both);
  expect(await ids({}, "", 1)).toEqual([both[0]]);
  expect(await ids({}, both[0])).toEqual([both[1]]);
  expect(await ids({ leaseId: `${workspaceId}.${second.fence}` })).toEqual([both[1]]);
  expect(await ids({ leaseId: "nonsense" })).toEqual([]);
  expect(
    await ids({ salvageId: both[0] ?? "", repository: "demo", host: "test-host", workspaceId, holder: "test" }),
  ).toEqual([both[0]]);
  expect(await ids({ repository: "other" })).toEqual([]);
  expect(await ids({ caller: "somebody" })).toEqual([]);
});

test("G2 a discarded or expired salvage is gone at once, its files go behind, and both are events", async () => {
  const { store, sql } = fixture;
  await leave();
  await leave();
  const [one, two] = (await store.salvages.list({}, "", 10)).salvages;
  if (!one || !two) throw new Error("two were made");
  expect(await store.salvages.discard(one.salvageId)).toBe(true);
  expect(await store.salvages.discard(one.salvageId)).toBe(false);
  expect(await store.salvages.find(one.salvageId)).toBeUndefined();
  expect(await store.salvages.expire()).toBe(0);
  await sql`update salvages set expire_time = now() - interval '1 second'`;
  expect(await store.salvages.expire()).toBe(1);
  expect((await store.salvages.list({}, "", 10)).salvages).toEqual([]);
  const removals = await store.salvages.removals(10);
  expect(removals.map(({ salvageId }) => salvageId).sort()).toEqual([one.salvageId, two.salvageId].sort());
  for (const { salvageId } of removals) await store.salvages.removed(salvageId);
  expect(await store.salvages.removals(10)).toEqual([]);
  expect((await eventsOf("SALVAGE_DISCARDED")).map((event) => event.salvageId)).toEqual([one.salvageId]);
  expect((await eventsOf("SALVAGE_EXPIRED")).map((event) => event.salvageId)).toEqual([two.salvageId]);
});

test("G2 a salvage that an open Acquire is to restore neither expires nor loses its files", async () => {
  const { store, sql } = fixture;
  await leave();
  const [salvage] = (await store.salvages.list({}, "", 10)).salvages;
  const salvageId = salvage?.salvageId ?? "";
  const ticket = await openTicket(fixture);
  await sql`update tickets set spec = spec || ${sql.json({ restore: { salvageId } })}::jsonb where id = ${String(ticket)}`;
  await sql`update salvages set expire_time = now() - interval '1 second'`;
  expect(await store.salvages.expire()).toBe(0);
  await store.salvages.discard(salvageId);
  expect(await store.salvages.removals(10)).toEqual([]);
  await store.tickets.leave(ticket, true);
  expect(await store.salvages.removals(10)).toMatchObject([{ salvageId }]);
});

test("G2 a salvage outlives its workspace, its repository and its host's removal", async () => {
  const { store, sql } = fixture;
  await leave();
  await store.repositories.remove("demo", true);
  await finishDueWork(store);
  expect(await store.repositories.finishRemovals(["demo"])).toEqual(["demo"]);
  const [salvage] = (await store.salvages.list({ repository: "demo" }, "", 10)).salvages;
  expect(salvage).toMatchObject({ repository: "demo", host: "test-host" });
  const other = await fixture.another("other-host");
  await other.ownership.start();
  await store.ownership.stop();
  expect(await other.hosts.remove("test-host", true)).toMatchObject({ kind: "removed" });
  expect((await other.salvages.list({}, "", 10)).salvages).toHaveLength(1);
  // nobody can reach its files any more: when its time is over, any owner forgets it
  await sql`update salvages set expire_time = now() - interval '1 second'`;
  expect(await other.salvages.expire()).toBe(1);
  expect(await sql`select from salvages`).toHaveLength(0);
});

test("G2 the lease whose work is quarantined is remembered for as long as that takes", async () => {
  const { store, sql } = fixture;
  const { lease: held, workspace } = await lease(fixture);
  await store.leases.end(held, "RELEASED", "CLEAN");
  const { key } = await claimOne();
  await store.work.finishWork(key, { kind: "quarantined", path: "", problem: "too big" });
  await sql`update leases set end_time = now() - interval '1 year'`;
  await store.work.keepHouse(1);
  expect(await store.salvages.workLeft(workspace.id)).toMatchObject({ leaseId: `${workspace.id}.${held.fence}` });
  await store.pool.reset({ workspaceId: workspace.id, force: false, abandonWork: false });
  await finishDueWork(store);
  await store.work.keepHouse(1);
  expect(await store.salvages.workLeft(workspace.id)).toMatchObject({ leaseId: "" });
});
