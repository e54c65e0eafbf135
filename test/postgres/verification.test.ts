import { afterEach, beforeEach, expect, test } from "vitest";
import type { Work } from "../../src/ports/workspace-store.js";
import { commit, grant, lease, makeIdle, openStoreFixture, openTicket, type StoreFixture } from "../support/store.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture();
});
afterEach(() => fixture.close());

async function idle(): Promise<string> {
  await makeIdle(fixture, 1);
  const { workspaces } = await fixture.store.pool.list({ states: ["IDLE"] }, "", 1);
  return workspaces[0]?.id ?? "";
}

async function claimed(): Promise<Work> {
  const [work] = await fixture.store.work.claimWork([], "/workspaces", 1);
  if (!work) throw new Error("nothing is due");
  return work;
}

test("G1 no SQL makes a workspace idle or leased that was not verified", async () => {
  const { sql, store } = fixture;
  const id = (await idle()).slice(1);
  await expect(sql`update workspaces set verify_time = null where id = ${id}`).rejects.toThrow(
    "idle_workspaces_are_verified",
  );
  const granted = await grant(store, await openTicket(fixture));
  expect(granted).toMatchObject({ kind: "granted", source: "exact" });
  await sql`update workspaces set verify_time = null where id = ${id}`;
  await expect(sql`update workspaces set state = 'LEASED' where id = ${id}`).rejects.toThrow("was not verified");
});

test("G1 verify_time is of after the last holder, stays during a lease, and goes with its end", async () => {
  const { store } = fixture;
  const id = await idle();
  const before = (await store.pool.get(id))?.verifyTime;
  expect(before).toBeInstanceOf(Date);
  const granted = await grant(store, await openTicket(fixture));
  if (granted.kind !== "granted") throw new Error(granted.kind);
  const ticketId = await openTicket(fixture);
  expect(ticketId).toBeGreaterThan(0n);
  expect((await store.pool.get(id))?.verifyTime).toEqual(before);
  const { lease: held, workspace } = await lease(fixture);
  expect(workspace.verifyTime?.getTime()).toBeGreaterThan(before?.getTime() ?? 0);
  await store.leases.end(held, "RELEASED", "CLEAN");
  expect((await store.pool.get(workspace.id))?.verifyTime).toBeUndefined();
});

test("G1 an idle workspace is verified where it stands and goes back to the pool", async () => {
  const { store } = fixture;
  const id = await idle();
  const before = await store.pool.get(id);
  const begun = await store.pool.beginVerification(id);
  if (begun.kind !== "begun") throw new Error(begun.kind);
  expect(await store.pool.verification(id, begun.fence)).toEqual({ kind: "pending" });
  expect(await store.pool.beginVerification(id)).toEqual(begun);
  const work = await claimed();
  expect(work).toMatchObject({ kind: "verify", path: before?.path, from: commit, head: "refs/heads/main" });
  // one that is being looked at may have been looked at before this call
  expect(await store.pool.beginVerification(id)).toEqual({ kind: "busy" });
  const verification = { kind: "pristine", files: 7 } as const;
  expect(await store.work.finishWork(work.key, { kind: "verified", verification })).toBe(true);
  expect(await store.pool.verification(id, begun.fence)).toEqual({ kind: "known", verification });
  const after = await store.pool.get(id);
  expect(after).toMatchObject({ state: "IDLE", path: before?.path, commit, head: "refs/heads/main" });
  expect(after?.verifyTime?.getTime()).toBeGreaterThan(before?.verifyTime?.getTime() ?? 0);
});

test("G1 one that differs is cleaned from scratch next, and nobody gets it before", async () => {
  const { store } = fixture;
  const id = await idle();
  const begun = await store.pool.beginVerification(id);
  if (begun.kind !== "begun") throw new Error(begun.kind);
  const verification = { kind: "differs", findings: ["a: content", "b: is missing"], files: 7 } as const;
  await store.work.finishWork((await claimed()).key, { kind: "verified", verification });
  expect(await store.pool.verification(id, begun.fence)).toEqual({ kind: "known", verification });
  expect(await store.pool.get(id)).toMatchObject({ state: "CLEANING", problem: "verification: a: content" });
  expect(await claimed()).toMatchObject({ kind: "clean", from: "", key: { workspaceId: id } });
});

test("G1 what is leased, quarantined or not there is not looked at; a removal comes before a verification", async () => {
  const { store } = fixture;
  const { workspace } = await lease(fixture);
  expect(await store.pool.beginVerification(workspace.id)).toEqual({ kind: "leased" });
  expect(await store.pool.beginVerification("w9999")).toEqual({ kind: "unknown" });
  const id = await idle();
  const begun = await store.pool.beginVerification(id);
  if (begun.kind !== "begun") throw new Error(begun.kind);
  await store.pool.reclaim({ leaseIds: [], workspaceIds: [id], dryRun: false });
  expect(await store.pool.verification(id, begun.fence)).toEqual({ kind: "lost" });
  const work = await claimed();
  expect(work).toMatchObject({ kind: "remove", key: { workspaceId: id } });
  await store.work.finishWork(work.key, { kind: "quarantined", path: "", problem: "it differs" });
  expect(await store.pool.beginVerification(id)).toEqual({ kind: "quarantined" });
});

test("G12 a verification that its server did not live to finish is done again by the next", async () => {
  const { store, sql } = fixture;
  const id = await idle();
  const begun = await store.pool.beginVerification(id);
  if (begun.kind !== "begun") throw new Error(begun.kind);
  const dead = await claimed();
  await sql`update workspaces set claim_time = now() - interval '1 minute' where state = 'CLEANING'`;
  const again = await claimed();
  expect(again).toMatchObject({ kind: "verify", path: dead.path });
  const verification = { kind: "pristine", files: 1 } as const;
  expect(await store.work.finishWork(dead.key, { kind: "verified", verification })).toBe(false);
  expect(await store.work.finishWork(again.key, { kind: "verified", verification })).toBe(true);
  expect(await store.pool.verification(id, begun.fence)).toEqual({ kind: "known", verification });
});

test("G4 stragglers are an event of the lease that left them, and only under the claim", async () => {
  const { store, sql } = fixture;
  const { lease: held } = await lease(fixture);
  await store.leases.end(held, "RELEASED", "CLEAN");
  const work = await claimed();
  expect(work.leaseTimeMs).toBe(held.acquireTime.getTime());
  await store.work.reportStragglers({ ...work.key, fence: work.key.fence - 1n }, "too late");
  await store.work.reportStragglers(work.key, "make (4711, directory)");
  await store.events.publish();
  const told = await sql`
    select detail, lease_fence, holder, state, reason from events where kind = 'STRAGGLERS_FOUND'`;
  expect(told).toMatchObject([
    {
      detail: "make (4711, directory)",
      lease_fence: String(held.fence),
      holder: "test",
      state: "CLEANING",
      reason: "RELEASED",
    },
  ]);
});
