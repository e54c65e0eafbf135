/** What a low disk changes in the store: who goes first, what is told once, and that work waits for room. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { commit, grant, lease, makeIdle, openStoreFixture, openTicket, type StoreFixture } from "../support/store.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture(8);
});
afterEach(() => fixture.close());

const room = { totalBytes: 1_000, lowBytes: 100, minFreeBytes: 50 };

async function kinds(): Promise<string[]> {
  const { store } = fixture;
  const { newest } = await store.events.publish();
  return (await store.events.read(1n, Number(newest))).map(({ kind }) => kind);
}

test("G7 a crossing is told once, and recovered is only what is above the mark by a margin", async () => {
  const { usage } = fixture.store;
  const seen: boolean[] = [];
  for (const freeBytes of [500, 100, 99, 80, 101, 104, 105, 101, 99]) {
    seen.push(await usage.noteDisk({ ...room, freeBytes }, 7, 105));
  }
  expect(seen).toEqual([false, false, true, true, true, true, false, false, true]);
  const told = (await kinds()).filter((kind) => kind.startsWith("DISK_"));
  expect(told).toEqual(["DISK_LOW", "DISK_RECOVERED", "DISK_LOW"]);
  const [host] = await usage.usage("", 0);
  expect(host?.disk).toMatchObject({ ...room, freeBytes: 99, reserveBytes: 7, low: true });
});

test("G7 the idle ones that were used least recently go, but those that min_idle keeps, until their sizes are enough", async () => {
  const { store } = fixture;
  await makeIdle(fixture, 5);
  const { workspaces } = await store.pool.list({ states: ["IDLE"] }, "", 10);
  const byAge = [...workspaces].sort((a, b) => Number(a.idleTime) - Number(b.idleTime)).map(({ id }) => id);
  for (const { workspaceId, version, path, repository } of await store.usage.due(0, 0, 10)) {
    await store.usage.storeSize({ workspaceId, version, path, repository }, 10);
  }
  await store.repositories.update("demo", { minIdle: 1 });
  expect(await store.usage.evict("IDLE", 15, 10)).toEqual(byAge.slice(0, 2));
  expect(await store.usage.evict("IDLE", 1_000, 10)).toEqual(byAge.slice(2, 4));
  expect(await store.usage.evict("IDLE", 1_000, 10)).toEqual([]);
  for (const work of await store.work.claimWork([], "/workspaces", 10)) expect(work.kind).toBe("remove");
  expect((await store.usage.evict("PARKED", 1_000, 10)).length).toBe(0);
});

test("G7 D1 parked ones go in the order in which they were parked, and what they hold is still guarded", async () => {
  const { store, sql } = fixture;
  const parked: string[] = [];
  for (const binding of ["a", "b"]) {
    const ticketId = await openTicket(fixture, store, "", true, binding);
    const granted = await grant(store, ticketId);
    if (granted.kind !== "granted") throw new Error(granted.kind);
    const activated = await store.tickets.activate({
      ...{ ticketId, key: granted.key, commit, head: "refs/heads/main", refsVersion: 1n },
      ...{ source: "CREATED", timings: [] },
    });
    if (!activated) throw new Error("not activated");
    await store.leases.end(activated.lease, "PARKED", "PARK");
    parked.push(activated.workspace.id);
  }
  expect(await store.usage.evict("PARKED", 1, 10)).toEqual(parked.slice(0, 1));
  const [work] = await store.work.claimWork([], "/workspaces", 10);
  expect(work).toMatchObject({ kind: "remove", guardWork: true, key: { workspaceId: parked[0] } });
  const [row] = await sql<
    { binding: string }[]
  >`select binding from workspaces where id = ${parked[0]?.slice(1) ?? ""}`;
  // until its work is saved nobody gets another workspace for the binding
  expect(row?.binding).toBe("a");
});

test("G7 without room nobody is given a new workspace, and an idle one is given all the same", async () => {
  const { store } = fixture;
  await makeIdle(fixture, 1);
  const ask = async (mayMake: boolean) => {
    const ticketId = await openTicket(fixture);
    const request = {
      ticketId,
      commit,
      head: "refs/heads/main",
      refsVersion: 1n,
      workspaceRoot: "/workspaces",
      mayMake,
      url: fixture.repository.url,
    };
    return (await store.tickets.grant(request)).kind;
  };
  expect(await ask(false)).toBe("granted");
  expect(await ask(false)).toBe("no-room");
  expect(await ask(true)).toBe("granted");
});

test("G7 B2 work waits for room as often as it takes; what holds none gives its place up", async () => {
  const { store, sql } = fixture;
  const held = await lease(fixture);
  await store.leases.end(held.lease, "RELEASED", "CLEAN");
  const postpone = async () => {
    await sql`update workspaces set retry_time = null`;
    const [work] = await store.work.claimWork([], "/workspaces", 10);
    if (!work) throw new Error("nothing is due");
    await store.work.finishWork(work.key, { kind: "failed", problem: "full", lacksRoom: true });
    const [row] = await sql<{ state: string; removing: boolean; pause: number }[]>`
      select state, removing, extract(epoch from retry_time - clock_timestamp())::float8 as pause from workspaces`;
    return { ...row, pause: Math.round(row?.pause ?? 0) };
  };
  const pauses: number[] = [];
  for (let attempt = 0; attempt < 8; attempt++) {
    const { state, removing, pause } = await postpone();
    expect([state, removing]).toEqual(["CLEANING", false]);
    pauses.push(pause);
  }
  expect(pauses).toEqual([1, 2, 4, 8, 15, 15, 15, 15]);
  await sql`update workspaces set retry_time = null`;
  const [work] = await store.work.claimWork([], "/workspaces", 10);
  if (!work) throw new Error("nothing is due");
  expect(await store.salvages.settle(work.key, undefined)).toBe(true);
  await store.work.finishWork(work.key, { kind: "failed", problem: "full", lacksRoom: true });
  expect(await postpone()).toMatchObject({ removing: true });
});

test("G7 D5 a size that was taken while the workspace changed is not believed, and places of what is gone are forgotten", async () => {
  const { store } = fixture;
  await makeIdle(fixture, 1);
  const [due] = await store.usage.due(0, 0, 10);
  if (!due) throw new Error("nothing is due");
  const held = await lease(fixture);
  await store.usage.storeSize(due, 999);
  expect((await store.pool.get(held.workspace.id))?.size).toBeUndefined();
  await store.usage.storePlace({ kind: "MIRROR", repository: "demo", bytes: 5 });
  await store.usage.storePlace({ kind: "SALVAGES", repository: "gone", bytes: 6 });
  expect((await store.usage.places()).mirrors).toEqual(["demo"]);
  const [host] = await store.usage.usage("test-host", 10);
  expect(host?.repositories.map(({ repository, mirrorBytes }) => [repository, mirrorBytes])).toEqual([["demo", 5]]);
  expect(await store.usage.usage("nowhere", 0)).toEqual([]);
  expect(await store.usage.largest()).toEqual(new Map([[fixture.repository.id, 5]]));
});
