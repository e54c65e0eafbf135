import { afterEach, beforeEach, expect, test } from "vitest";
import {
  commit,
  finishDueWork,
  grant,
  lease,
  makeIdle,
  openStoreFixture,
  openTicket,
  type StoreFixture,
} from "../support/store.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture(2);
});
afterEach(() => fixture.close());

test("G3 one request id, fifty times at once, is one ticket", async () => {
  const tickets = await Promise.all(Array.from({ length: 50 }, () => openTicket(fixture, fixture.store, "same")));
  expect(new Set(tickets).size).toBe(1);
});

test("G3 the request id of a living lease finds that lease, and of an ended one its end", async () => {
  const { store } = fixture;
  const ticketId = await openTicket(fixture, store, "r");
  const granted = await grant(store, ticketId);
  if (granted.kind !== "granted") throw new Error(granted.kind);
  const wanted = { commit, head: "refs/heads/main", refsVersion: 1n, timings: [] };
  const made = await store.tickets.activate({ ticketId, key: granted.key, ...wanted, source: "CREATED" });
  const again = () =>
    store.tickets.open({
      caller: "",
      requestId: "r",
      digest: "d",
      repositoryId: fixture.repository.id,
      hostId: store.ownership.host.id,
      spec: {
        revision: "",
        holder: "",
        labels: {},
        ttlMs: 1,
        maxStalenessMs: 0,
        branch: "",
        binding: "",
        mayWait: true,
      },
    });
  const replay = await again();
  expect(replay.kind === "leased" && replay.grant.lease.fence).toBe(made?.lease.fence);
  await store.leases.end(granted.key, "RECLAIMED", "CLEAN");
  const late = await again();
  expect(late.kind === "leased" && late.grant.lease.endReason).toBe("RECLAIMED");
});

test("G3 a request id is its caller's own", async () => {
  const open = (caller: string) =>
    fixture.store.tickets.open({
      caller,
      requestId: "r",
      digest: caller,
      repositoryId: fixture.repository.id,
      hostId: fixture.store.ownership.host.id,
      spec: {
        revision: "",
        holder: "",
        labels: {},
        ttlMs: 1,
        maxStalenessMs: 0,
        branch: "",
        binding: "",
        mayWait: true,
      },
    });
  expect((await open("alice")).kind).toBe("opened");
  expect((await open("bob")).kind).toBe("opened");
});

test("G6 the queue is by arrival, over all servers", async () => {
  const { store } = fixture;
  const other = await fixture.another();
  const held = [await lease(fixture), await lease(fixture)];
  const first = await openTicket(fixture, other);
  const second = await openTicket(fixture, store);
  // asked in the other order
  expect(await grant(store, second)).toMatchObject({ kind: "waiting" });
  expect(await grant(store, first)).toEqual({ kind: "waiting", position: 1 });
  await store.leases.end(held[0]?.lease ?? raise(), "RELEASED", "CLEAN");
  await finishDueWork(store);
  expect(await grant(store, second)).toEqual({ kind: "waiting", position: 2 });
  expect(await grant(store, first)).toMatchObject({ kind: "granted" });
});

test("G6 without a wait a full pool answers at once, with the position", async () => {
  await lease(fixture);
  await lease(fixture);
  const waiting = await openTicket(fixture);
  await grant(fixture.store, waiting);
  const hasty = await openTicket(fixture, fixture.store, "", false);
  expect(await grant(fixture.store, hasty)).toEqual({ kind: "exhausted", position: 2 });
});

test("G6 a place with a request id is kept for 30 s after its server died, and blocks nobody meanwhile", async () => {
  const { store, sql } = fixture;
  await lease(fixture);
  await lease(fixture);
  const other = await fixture.another();
  const kept = await openTicket(fixture, other, "kept");
  const unkept = await openTicket(fixture, other);
  await grant(store, kept);
  await grant(store, unkept);
  await sql`update servers set seen_time = now() - interval '6 seconds' where id = (select server_id from tickets where id = ${String(kept)})`;
  await store.work.keepHouse(1);
  expect((await store.tickets.read(unkept)).kind).toBe("gone");
  const third = await openTicket(fixture);
  expect(await grant(store, third)).toMatchObject({ kind: "waiting", position: 1 });
  // it comes back and is before the third again
  expect(await openTicket(fixture, store, "kept")).toBe(kept);
  expect(await grant(store, third)).toMatchObject({ kind: "waiting", position: 2 });
  await store.tickets.leave(kept, false);
  await sql`update tickets set leave_time = now() - interval '31 seconds' where id = ${String(kept)}`;
  await store.work.keepHouse(1);
  expect((await store.tickets.read(kept)).kind).toBe("gone");
});

test("G6 a ticket that nobody attends is not granted, and a grant that nobody attends mints no lease", async () => {
  const { store } = fixture;
  await makeIdle(fixture, 1);
  const gone = await openTicket(fixture, store, "a");
  await store.tickets.leave(gone, false);
  expect(await grant(store, gone)).toEqual({ kind: "gone" });
  const leaving = await openTicket(fixture, store, "b");
  const granted = await grant(store, leaving);
  if (granted.kind !== "granted") throw new Error(granted.kind);
  await store.tickets.leave(leaving, false);
  const wanted = { commit, head: "refs/heads/main", refsVersion: 1n, timings: [] };
  expect(
    await store.tickets.activate({ ticketId: leaving, key: granted.key, ...wanted, source: "WARM" }),
  ).toBeUndefined();
  await store.tickets.giveBack(leaving, granted.key, "IDLE");
  expect((await store.pool.get(granted.key.workspaceId))?.state).toBe("IDLE");
});

test("a paused repository hands nothing out", async () => {
  await makeIdle(fixture, 1);
  await fixture.store.repositories.update("demo", { paused: true });
  expect(await grant(fixture.store, await openTicket(fixture))).toEqual({ kind: "paused" });
});

test("B2 a path is stored before anything is written, and no holder gets the path of an earlier one", async () => {
  const first = await lease(fixture);
  expect(first.workspace.path).toBe("/workspaces/demo/w1.1");
  await fixture.store.leases.end(first.lease, "RELEASED", "CLEAN");
  await finishDueWork(fixture.store);
  const second = await lease(fixture);
  expect(second.workspace.id).toBe(first.workspace.id);
  expect(second.workspace.path).not.toBe(first.workspace.path);
});

test("a repository with stable paths keeps them", async () => {
  await fixture.store.repositories.update("demo", { stablePath: true });
  const first = await lease(fixture);
  await fixture.store.leases.end(first.lease, "RELEASED", "CLEAN");
  await finishDueWork(fixture.store);
  expect((await lease(fixture)).workspace.path).toBe(first.workspace.path);
});

function raise(): never {
  throw new Error("there is no lease");
}
