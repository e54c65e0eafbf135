/** Callers that wait for one ticket at several servers, and go: over a store in Postgres, without files. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { Failure } from "../../src/domain/failure.js";
import type { TicketDesk } from "../../src/ports/lease-store.js";
import type { Store } from "../../src/postgres/store.js";
import { Attending, type AttendingDependencies } from "../../src/service/leases/attending.js";
import { Seats } from "../../src/service/leases/seats.js";
import type { CallContext } from "../../src/service/services.js";
import { grant, lease, openStoreFixture, openTicket, type StoreFixture } from "../support/store.js";
import { until } from "../support/until.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture(1);
});
afterEach(() => fixture.close());

/** One server's side. `desk`: what of its desk is not the store's. */
class Server {
  readonly seats = new Seats();
  readonly attending: Attending;

  constructor(store: Store, desk: Partial<TicketDesk> = {}) {
    const { tickets } = store;
    const deps: AttendingDependencies = {
      desk: {
        read: desk.read ?? ((id) => tickets.read(id)),
        leave: (id, over) => tickets.leave(id, over),
        position: (id) => tickets.position(id),
        endUndelivered: (id) => tickets.endUndelivered(id),
      },
      granting: { serves: () => false },
      registry: { unfinishedMirror: async () => undefined },
      seats: this.seats,
      wake: { hint: () => {}, onHint: () => () => {} },
      draining: new AbortController().signal,
    };
    this.attending = new Attending(deps);
  }

  /** Waits as an Acquire does; answers what it is told, or the failure. */
  async wait(ticketId: bigint, waitMs: number, seat = this.seats.sit(ticketId), call = calling()): Promise<unknown> {
    try {
      return await this.attending.outcome(
        { ticketId, repository: fixture.repository, binding: "desk" },
        seat,
        waitMs,
        call,
      );
    } catch (error) {
      this.attending.abandon(ticketId, seat, true).catch(() => {});
      return error;
    }
  }
}

const calling = (signal = new AbortController().signal, leftMs?: number): CallContext => {
  const end = leftMs === undefined ? undefined : performance.now() + leftMs;
  const timeLeftMs = () => (end === undefined ? undefined : end - performance.now());
  return { caller: { name: "", role: "admin" }, signal, arrival: 0, timeLeftMs };
};

const isAttended = async (ticketId: bigint) => {
  const [row] = await fixture.sql<{ attended: boolean }[]>`
    select is_alive(server_id) as attended from tickets where id = ${String(ticketId)}`;
  return row?.attended;
};

test("G3 G6 a caller that goes while its ticket is being read leaves nobody behind who attends it", async () => {
  const { store } = fixture;
  await lease(fixture);
  const ticketId = await openTicket(fixture, store, "r");
  expect(await grant(store, ticketId)).toMatchObject({ kind: "waiting" });
  let reads = 0;
  let letRead = () => {};
  const held = new Promise<void>((resolve) => (letRead = resolve));
  const server = new Server(store, {
    read: async (id) => {
      reads++;
      await held;
      return store.tickets.read(id);
    },
  });
  const caller = new AbortController();
  const seat = server.seats.sit(ticketId);
  const told = server.wait(ticketId, 60_000, seat, calling(caller.signal));
  await until("it is being read", () => reads === 1, 5_000);
  caller.abort();
  expect(await told).toMatchObject({ reason: "CANCELLED" });
  // time enough for what does not wait for the reading
  for (let i = 0; i < 20; i++) await store.tickets.position(ticketId);
  letRead();
  await until("nobody attends it", async () => (await isAttended(ticketId)) === false, 3_000);
  await seat.readings();
  expect(await isAttended(ticketId)).toBe(false);
});

test("G3 a wait that runs out at one server takes the place from nobody who waits for the same request elsewhere", async () => {
  const { store } = fixture;
  await lease(fixture);
  await grant(store, await openTicket(fixture));
  const other = await fixture.another();
  const ticketId = await openTicket(fixture, store, "r");
  expect(await grant(store, ticketId)).toEqual({ kind: "waiting", position: 2 });
  const patient = new Server(store);
  const caller = new AbortController();
  const told = patient.wait(ticketId, 60_000, undefined, calling(caller.signal));
  expect(await openTicket(fixture, other, "r")).toBe(ticketId);
  const hasty = await new Server(other).wait(ticketId, 100);
  expect(hasty).toMatchObject({ reason: "POOL_EXHAUSTED", metadata: { position: "2" } });
  await until("the patient one attends it", () => isAttended(ticketId), 5_000);
  expect(await store.tickets.read(ticketId)).toEqual({ kind: "pending", state: "WAITING" });
  caller.abort();
  await told;
});

test("G3 of two callers with one request here, the one whose wait runs out first learns the position too", async () => {
  const { store } = fixture;
  await lease(fixture);
  for (const _ of [1, 2]) await grant(store, await openTicket(fixture));
  const ticketId = await openTicket(fixture, store, "r");
  await grant(store, ticketId);
  const server = new Server(store);
  const caller = new AbortController();
  const told = server.wait(ticketId, 60_000, undefined, calling(caller.signal));
  expect(await server.wait(ticketId, 100)).toMatchObject({ reason: "POOL_EXHAUSTED", metadata: { position: "3" } });
  caller.abort();
  await told;
});

test("G6 a place with a request id whose wait ran out is kept for 30 s, one without is gone at once", async () => {
  const { store, sql } = fixture;
  await lease(fixture);
  const [kept, unkept] = [await openTicket(fixture, store, "r"), await openTicket(fixture)];
  for (const ticketId of [kept, unkept]) {
    await grant(store, ticketId);
    expect(await new Server(store).wait(ticketId, 100)).toBeInstanceOf(Failure);
  }
  expect(await store.tickets.read(unkept)).toEqual({ kind: "gone" });
  expect(await isAttended(kept)).toBe(false);
  expect(await openTicket(fixture, store, "r")).toBe(kept);
  expect(await grant(store, kept)).toEqual({ kind: "waiting", position: 1 });
  await store.tickets.leave(kept, true);
  await sql`update tickets set leave_time = now() - interval '31 seconds'`;
  await store.work.keepHouse(1);
  expect(await store.tickets.read(kept)).toEqual({ kind: "gone" });
});

test("G6 D1 a call is not held for ever by a place that is made for it and does not come", async () => {
  const { store } = fixture;
  const bound = await openTicket(fixture, store, "", true, "desk");
  const granted = await grant(store, bound);
  if (granted.kind !== "granted") throw new Error(granted.kind);
  const wanted = { commit: "c".repeat(40), head: "", refsVersion: 1n, source: "CREATED", timings: [] } as const;
  await store.tickets.activate({ ticketId: bound, key: granted.key, ...wanted });
  await store.leases.end(granted.key, "PARKED", "PARK");
  // nobody does the file work: what is given up is never clean
  const plain = await openTicket(fixture, store, "", false);
  expect(await grant(store, plain)).toEqual({ kind: "evicting" });
  const own = await openTicket(fixture, store, "", false, "desk");
  expect(await grant(store, own)).toEqual({ kind: "evicting" });
  const ask = (ticketId: bigint, waitMs: number) => {
    const server = new Server(store);
    return server.wait(ticketId, waitMs, server.seats.sit(ticketId), calling(undefined, 1_500));
  };
  const [place, binding] = await Promise.all([ask(plain, 0), ask(own, 500)]);
  expect(place).toMatchObject({ reason: "POOL_EXHAUSTED", metadata: { position: "1" } });
  expect(binding).toMatchObject({ reason: "BINDING_IN_USE", metadata: { binding: "desk" } });
  expect(await store.tickets.read(plain)).toEqual({ kind: "gone" });
});
