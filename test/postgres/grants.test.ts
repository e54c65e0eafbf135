/** Who may serve a ticket, and in which order: over several servers and hosts on one database. */
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  commit,
  finishDueWork,
  grant,
  lease,
  openStoreFixture,
  openTicket,
  type StoreFixture,
} from "../support/store.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture(2);
});
afterEach(() => fixture.close());

test("G10 a ticket is served by the owner of its own host alone, whoever joins it", async () => {
  const { store, repository, sql } = fixture;
  const other = await fixture.another("other-host");
  await other.ownership.start();
  const ticketId = await openTicket(fixture, store, "r");
  const [first] = await sql<{ spec: object }[]>`select spec from tickets`;
  const joined = await other.tickets.open({
    ...{ caller: "", requestId: "r", digest: "d", repositoryId: repository.id, hostId: other.ownership.host.id },
    spec: first?.spec as never,
  });
  // the other server is told whose it is
  expect(joined).toEqual({ kind: "joined", ticketId, hostId: store.ownership.host.id });
  expect(await grant(other, ticketId)).toEqual({ kind: "gone" });
  expect(await grant(store, ticketId)).toMatchObject({ kind: "granted" });
});

test("G10 a server that does not own the ticket's host any more takes nothing for it", async () => {
  const { store, sql } = fixture;
  await store.leases.end((await lease(fixture)).lease, "RELEASED", "CLEAN");
  const ticketId = await openTicket(fixture);
  await sql`update hosts set server_id = null`;
  expect(await grant(store, ticketId)).toEqual({ kind: "gone" });
});

/** A workspace that is parked under the binding. */
async function park(binding: string): Promise<string> {
  const { store } = fixture;
  const ticketId = await openTicket(fixture, store, "", true, binding);
  const granted = await grant(store, ticketId);
  if (granted.kind !== "granted") throw new Error(granted.kind);
  const { key } = granted;
  const wanted = { commit, head: "refs/heads/main", refsVersion: 1n, timings: [] };
  await store.tickets.activate({ ticketId, key, ...wanted, source: "CREATED" });
  await store.leases.end(key, "PARKED", "PARK");
  return key.workspaceId;
}

async function parkTwo(): Promise<readonly [string, string]> {
  return [await park("one"), await park("two")];
}

const stateOf = async (id: string) => (await fixture.store.pool.get(id))?.state;

test("G6 D1 a place that was made by giving a parked workspace up is for whom it was made, not for who comes next", async () => {
  const { store } = fixture;
  const [first, second] = await parkTwo();
  const early = await openTicket(fixture, store, "", false);
  expect(await grant(store, early)).toEqual({ kind: "evicting" });
  await finishDueWork(store);
  expect(await stateOf(first)).toBe("IDLE");
  // it comes as the place is free; there is another one to be given up for it
  const late = await openTicket(fixture, store, "", false);
  expect(await grant(store, late)).toEqual({ kind: "evicting" });
  expect(await grant(store, early)).toMatchObject({ kind: "granted", key: { workspaceId: first } });
  await finishDueWork(store);
  expect(await grant(store, late)).toMatchObject({ kind: "granted", key: { workspaceId: second } });
});

test("G6 D1 who comes while a place is made for another, and finds nothing to be given up, learns its position", async () => {
  const { store } = fixture;
  const first = await park("one");
  await lease(fixture);
  const early = await openTicket(fixture, store, "", false);
  expect(await grant(store, early)).toEqual({ kind: "evicting" });
  await finishDueWork(store);
  expect(await grant(store, await openTicket(fixture, store, "", false))).toEqual({ kind: "exhausted", position: 2 });
  const waits = await openTicket(fixture);
  expect(await grant(store, waits)).toEqual({ kind: "waiting", position: 2 });
  expect(await store.tickets.leave(waits, false)).toMatchObject({ position: 2 });
  // nobody waits behind one that has gone
  const patient = await openTicket(fixture);
  await store.tickets.leave(early, false);
  expect(await grant(store, patient)).toMatchObject({ kind: "granted", key: { workspaceId: first } });
});
