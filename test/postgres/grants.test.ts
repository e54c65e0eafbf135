/** Who may serve a ticket, and in which order: over several servers and hosts on one database. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { grant, lease, openStoreFixture, openTicket, type StoreFixture } from "../support/store.js";

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
