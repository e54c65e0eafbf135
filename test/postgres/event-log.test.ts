import { afterEach, beforeEach, expect, test } from "vitest";
import { finishDueWork, lease, openStoreFixture, type StoreFixture } from "../support/store.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture(12);
});
afterEach(() => fixture.close());

test("G5 many committers and two publishers give consecutive revisions, in each workspace's order", async () => {
  const { store } = fixture;
  const other = await fixture.another("other-host");
  let done = false;
  const seen: bigint[] = [];
  const publisher = async (log = store.events) => {
    while (!done) await log.publish();
  };
  const reader = async () => {
    let next = 1n;
    while (!done || (await store.events.publish()).newest >= next) {
      const events = await store.events.read(next, 50);
      for (const event of events) {
        seen.push(event.revision);
        next = event.revision + 1n;
      }
    }
  };
  const worker = async () => {
    for (let i = 0; i < 15; i++) {
      const { lease: held } = await lease(fixture);
      await store.leases.end(held, "RELEASED", "CLEAN");
      await finishDueWork(store);
    }
  };
  const workers = Promise.all(Array.from({ length: 6 }, worker)).finally(() => {
    done = true;
  });
  await Promise.all([workers, publisher(), publisher(other.events), reader()]);

  const { newest } = await store.events.publish();
  expect(newest).toBeGreaterThan(250n);
  expect(seen).toEqual(Array.from({ length: Number(newest) }, (_, index) => BigInt(index + 1)));
  const versions = new Map<string, bigint>();
  for (const event of await store.events.read(1n, 10_000)) {
    if (!event.workspaceId) continue;
    expect(event.version).toBe((versions.get(event.workspaceId) ?? 0n) + 1n);
    versions.set(event.workspaceId, event.version);
  }
});

test("G5 an event is of the transaction that made the change: without the change there is none", async () => {
  const { store, sql } = fixture;
  const { lease: held } = await lease(fixture);
  await store.events.publish();
  await sql.unsafe("alter table outbox add constraint full_outbox check (kind <> 'LEASE_ENDED')");
  await expect(store.leases.end(held, "RELEASED", "CLEAN")).rejects.toThrow(/full_outbox/);
  expect((await store.leases.find(held))?.endTime).toBeUndefined();
});

test("G5 retention forgets whole prefixes, and the bounds say so", async () => {
  const { store, sql } = fixture;
  await lease(fixture);
  const { newest } = await store.events.publish();
  await sql`update events set event_time = now() - interval '8 days' where revision <= 3`;
  expect(await store.events.trim(7 * 86_400_000)).toBe(3);
  expect(await store.events.publish()).toEqual({ oldest: 4n, newest });
  expect((await store.events.read(1n, 1))[0]?.revision).toBe(4n);
  // an old event behind a newer one is kept: no gaps
  await sql`update events set event_time = now() - interval '8 days' where revision = 5`;
  expect(await store.events.trim(7 * 86_400_000)).toBe(0);
});

test("G5 when everything is too old, everything goes, and revisions go on where they were", async () => {
  const { store, sql } = fixture;
  await lease(fixture);
  const { newest } = await store.events.publish();
  await sql`update events set event_time = now() - interval '8 days'`;
  await store.events.trim(7 * 86_400_000);
  expect(await store.events.publish()).toEqual({ oldest: newest + 1n, newest });
  await lease(fixture);
  await store.events.publish();
  expect((await store.events.read(1n, 1))[0]?.revision).toBe(newest + 1n);
});
