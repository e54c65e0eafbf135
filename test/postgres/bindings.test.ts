import { afterEach, beforeEach, expect, test } from "vitest";
import type { Grant, GrantOutcome } from "../../src/ports/lease-store.js";
import type { Store } from "../../src/postgres/store.js";
import { commit, grant, openStoreFixture, openTicket, type StoreFixture } from "../support/store.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture(2);
});
afterEach(() => fixture.close());

async function ask(binding: string, mayWait = false, store = fixture.store) {
  const ticketId = await openTicket(fixture, store, "", mayWait, binding);
  return { ticketId, outcome: await grant(store, ticketId) };
}

async function take(asked: { ticketId: bigint; outcome: GrantOutcome }, store: Store = fixture.store): Promise<Grant> {
  const { ticketId, outcome } = asked;
  if (outcome.kind !== "granted") throw new Error(outcome.kind);
  const source = outcome.source === "bound" ? "BOUND" : "CREATED";
  const { key } = outcome;
  const taken = await store.tickets.activate({
    ...{ ticketId, key, commit: "d".repeat(40), head: "", refsVersion: 2n, source, timings: [] },
  });
  if (!taken) throw new Error("not activated");
  return taken;
}

const park = ({ lease }: Grant) => fixture.store.leases.end(lease, "PARKED", "PARK");

test("D1 a binding's workspace is its caller's, comes back as it was, and keeps what it was verified by", async () => {
  const { store } = fixture;
  const first = await take(await ask("desk"));
  expect(await park(first)).toMatchObject({ kind: "ended", reason: "PARKED", workspace: { state: "PARKED" } });
  const parked = await store.pool.get(first.workspace.id);
  expect(parked).toMatchObject({ binding: "desk", path: first.workspace.path, verifyTime: first.workspace.verifyTime });
  expect(parked?.idleTime).toBeInstanceOf(Date);
  const second = await take(await ask("desk"));
  expect(second.workspace).toMatchObject({
    id: first.workspace.id,
    path: first.workspace.path,
    commit: "d".repeat(40),
  });
  expect(second).toMatchObject({ source: "BOUND", resolvedCommit: "d".repeat(40), lostSalvageId: "" });
  expect(second.lease.fence).toBeGreaterThan(first.lease.fence);
});

test("D1 no SQL gives a binding two workspaces, parks one without a binding, or binds what is idle", async () => {
  const { sql, store } = fixture;
  const first = await take(await ask("desk"));
  const other = await take(await ask("bench"));
  const id = other.workspace.id.slice(1);
  await expect(sql`update workspaces set binding = 'desk' where id = ${id}`).rejects.toThrow(
    "one_workspace_per_binding",
  );
  await expect(sql`update workspaces set state = 'PARKED', binding = '' where id = ${id}`).rejects.toThrow(
    "parked_workspaces_have_a_binding",
  );
  await expect(sql`update workspaces set park_time = now() where id = ${id}`).rejects.toThrow(
    "parked_workspaces_have_a_park_time",
  );
  await store.leases.end(first.lease, "RELEASED", "CLEAN");
  const [work] = await store.work.claimWork([], "/workspaces", 1);
  // until its work is settled, the binding is not free
  expect((await ask("desk")).outcome).toEqual({ kind: "evicting" });
  expect((await ask("desk", true)).outcome).toEqual({ kind: "held" });
  await store.salvages.settle(work?.key ?? first.lease, undefined);
  expect((await store.pool.get(first.workspace.id))?.binding).toBe("");
});

test("D1 a waiter that only its own binding can serve stands before nobody", async () => {
  const held = await take(await ask("desk"));
  const waiter = await ask("desk", true);
  expect(waiter.outcome).toEqual({ kind: "held" });
  expect((await ask("desk")).outcome).toEqual({ kind: "in-use" });
  const other = await ask("", false);
  expect(other.outcome).toMatchObject({ kind: "granted", source: "new" });
  await park(held);
  expect(await grant(fixture.store, waiter.ticketId)).toMatchObject({ kind: "granted", source: "bound" });
});

test("D1 the least recently parked is given up before anybody is refused, and one only for each", async () => {
  const { store, sql } = fixture;
  const old = await take(await ask("desk"));
  const young = await take(await ask("bench"));
  await park(old);
  await park(young);
  await sql`update workspaces set park_time = now() - interval '1 hour' where id = ${old.workspace.id.slice(1)}`;
  const asked = await ask("");
  expect(asked.outcome).toEqual({ kind: "evicting" });
  expect((await store.pool.get(old.workspace.id))?.state).toBe("CLEANING");
  expect(await grant(store, asked.ticketId)).toEqual({ kind: "evicting" });
  expect((await store.pool.get(young.workspace.id))?.state).toBe("PARKED");
  const [work] = await store.work.claimWork([], "/workspaces", 1);
  if (!work) throw new Error("nothing is due");
  const saved = {
    repositoryPath: "/s.git",
    ref: "r",
    commit: "e".repeat(40),
    files: 1,
    commits: 0,
    bytes: 1,
    incomplete: [],
  };
  await store.salvages.settle(work.key, saved);
  await store.work.finishWork(work.key, { kind: "idle", commit, head: "", refsVersion: 1n });
  const taken = await grant(store, asked.ticketId);
  expect(taken).toMatchObject({ kind: "granted", key: { workspaceId: old.workspace.id } });
  // the binding learns what became of its work
  const back = await ask("desk");
  expect(back.outcome).toEqual({ kind: "evicting" });
  await store.leases.end((await take({ ticketId: asked.ticketId, outcome: taken })).lease, "RELEASED", "DISCARD");
});

test("G12 a bound grant of an owner that died goes back to its binding, with nothing cleaned", async () => {
  const { store, sql } = fixture;
  const first = await take(await ask("desk"));
  await park(first);
  expect((await ask("desk")).outcome).toMatchObject({ kind: "granted", source: "bound" });
  await sql`update workspaces set claim_time = now() - interval '1 minute' where state = 'PREPARING'`;
  expect(await store.work.claimWork([], "/workspaces", 10)).toEqual([]);
  const after = await store.pool.get(first.workspace.id);
  expect(after).toMatchObject({ state: "PARKED", binding: "desk", path: first.workspace.path });
});

test("D1 what nobody took goes back to its binding; a lease of it that nobody was told of parks", async () => {
  const { store } = fixture;
  const first = await take(await ask("desk"));
  await park(first);
  const asked = await ask("desk");
  if (asked.outcome.kind !== "granted") throw new Error(asked.outcome.kind);
  await store.tickets.giveBack(asked.ticketId, asked.outcome.key, "PARKED");
  expect(await store.pool.get(first.workspace.id)).toMatchObject({ state: "PARKED", binding: "desk" });
  const again = await ask("desk");
  await take(again);
  await store.tickets.leave(again.ticketId, false);
  expect(await store.tickets.endUndelivered(again.ticketId)).toBe(true);
  expect(await store.pool.get(first.workspace.id)).toMatchObject({ state: "PARKED", binding: "desk" });
});

test("G10 a binding on another host is named", async () => {
  const other = await fixture.another("other-host");
  await other.ownership.start();
  await take(await ask("desk"));
  const opened = await other.tickets.open({
    ...{ caller: "", requestId: "", digest: "d", repositoryId: fixture.repository.id, hostId: other.ownership.host.id },
    spec: {
      ...{
        revision: "",
        holder: "",
        labels: {},
        ttlMs: 60_000,
        maxStalenessMs: 0,
        branch: "",
        binding: "desk",
        mayWait: true,
      },
    },
  });
  if (opened.kind === "reused") throw new Error("reused");
  expect(await grant(other, opened.ticketId)).toEqual({ kind: "elsewhere", host: fixture.store.ownership.host.name });
  expect((await other.hosts.choose(fixture.repository.id, { caller: "", key: "desk" }))?.name).toBe(
    fixture.store.ownership.host.name,
  );
});

test("B6 a repository that is removed takes its parked workspaces with it, and parks nothing any more", async () => {
  const { store } = fixture;
  await park(await take(await ask("desk")));
  const live = await take(await ask("bench"));
  await store.repositories.remove("demo", true);
  const kinds = (await store.work.claimWork([], "/workspaces", 10)).map(({ kind }) => kind);
  expect(kinds).toEqual(["remove", "remove"]);
  expect((await store.pool.get(live.workspace.id))?.state).toBe("CLEANING");
});
