/** What forges have sent is stored once, claimed by one, in the order of its lane, and comes back from the dead. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { Delivery } from "../../src/ports/delivery-store.js";
import { openStoreFixture, type StoreFixture } from "../support/store.js";

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await openStoreFixture();
});
beforeEach(async () => {
  await fixture.sql`truncate forge_deliveries`;
});
afterAll(() => fixture.close());

let names = 0;
function delivery(fields: Partial<Delivery> = {}): Delivery {
  return {
    ...{ forge: "ours", deliveryId: `d${++names}`, digest: "", lane: "", forgeUrl: "https://x", subjectUrls: [] },
    event: { kind: "push", project: "o/n" },
    ...fields,
  };
}

it("D3 a delivery is stored once: by its name, and by what was signed", async () => {
  const { deliveries } = fixture.store;
  const first = delivery({ digest: "a" });
  expect(await deliveries.store([first, first, delivery()])).toEqual([true, false, true]);
  expect(await deliveries.store([first])).toEqual([false]);
  expect(await deliveries.store([delivery({ digest: "a" })])).toEqual([false]);
  // another forge's name and words are its own
  expect(await deliveries.store([{ ...first, forge: "theirs" }])).toEqual([true]);
  const claimed = await deliveries.claim(10);
  expect(claimed.map(({ forge }) => forge)).toEqual(["ours", "ours", "theirs"]);
  expect(claimed[0]).toMatchObject({ ...first, attempt: 1 });
  await deliveries.finish(claimed.map(({ id }) => id));
  // also when it is done
  expect(await deliveries.store([first])).toEqual([false]);
  expect(await deliveries.claim(10)).toEqual([]);
});

it("D3 two servers never claim the same, and a lane is followed in its order", async () => {
  const other = await fixture.another("elsewhere");
  const all = Array.from({ length: 60 }, (_, index) => delivery({ lane: index % 3 === 0 ? "" : `lane ${index % 3}` }));
  await fixture.store.deliveries.store(all);
  const order: string[] = [];
  const seen = new Set<bigint>();
  const follow = async (store: typeof other) => {
    for (let round = 0; round < 200; round++) {
      const claimed = await store.deliveries.claim(4);
      expect(new Set(claimed.map(({ lane }) => lane || Math.random())).size).toBe(claimed.length);
      for (const { id, deliveryId, lane } of claimed) {
        expect(seen.has(id)).toBe(false);
        seen.add(id);
        if (lane) order.push(deliveryId);
      }
      await store.deliveries.finish(claimed.map(({ id }) => id));
      if (seen.size === all.length) return;
    }
  };
  await Promise.all([follow(fixture.store), follow(other)]);
  expect(seen.size).toBe(60);
  for (const lane of ["lane 1", "lane 2"]) {
    const wanted = all.filter((one) => one.lane === lane).map(({ deliveryId }) => deliveryId);
    expect(order.filter((id) => wanted.includes(id))).toEqual(wanted);
  }
});

it("D3 what a server that died had claimed is due at once; what one that lives has is not", async () => {
  const { deliveries } = fixture.store;
  await deliveries.store([delivery()]);
  const [claimed] = await deliveries.claim(1);
  expect(await deliveries.claim(1)).toEqual([]);
  await fixture.sql`update forge_deliveries set worker = 987654321`;
  expect(await deliveries.claim(1)).toMatchObject([{ id: claimed?.id, attempt: 2 }]);
  // the reply to a claim was lost
  await fixture.sql`update forge_deliveries set claim_time = claim_time - interval '2 minutes'`;
  expect(await deliveries.claim(1)).toMatchObject([{ id: claimed?.id, attempt: 3 }]);
});

it("D3 what failed comes again after pauses that grow, and holds up its own lane only", async () => {
  const { deliveries } = fixture.store;
  const [first, second, other] = [delivery({ lane: "l" }), delivery({ lane: "l" }), delivery({ lane: "m" })];
  await deliveries.store([first, second, other]);
  const pauses: number[] = [];
  for (let attempt = 1; attempt <= 12; attempt++) {
    const claimed = await deliveries.claim(10);
    const failed = claimed.find(({ lane }) => lane === "l");
    expect(failed).toMatchObject({ deliveryId: first.deliveryId, attempt });
    if (attempt === 1) expect(claimed).toHaveLength(2);
    await deliveries.postpone(failed?.id ?? 0n, "why");
    expect((await deliveries.claim(10)).filter(({ lane }) => lane === "l")).toEqual([]);
    const [row] = await fixture.sql<{ pause: number; problem: string }[]>`
      update forge_deliveries f set retry_time = clock_timestamp() from forge_deliveries o
       where f.id = o.id and f.id = ${String(failed?.id)}
      returning extract(epoch from o.retry_time - clock_timestamp())::float8 as pause, f.problem`;
    expect(row?.problem).toBe("why");
    pauses.push(row?.pause ?? 0);
  }
  expect(pauses[0]).toBeGreaterThan(1.5);
  expect(pauses[3]).toBeGreaterThan(15);
  expect(Math.max(...pauses)).toBeLessThanOrEqual(300);
});

it("D3 old deliveries are forgotten, done or not", async () => {
  const { deliveries } = fixture.store;
  const [old, young] = [delivery(), delivery()];
  await deliveries.store([old, young]);
  await fixture.sql`update forge_deliveries set receive_time = receive_time - interval '8 days' where delivery_id = ${old.deliveryId}`;
  await deliveries.forget(7 * 24 * 3_600_000);
  expect((await deliveries.claim(10)).map(({ deliveryId }) => deliveryId)).toEqual([young.deliveryId]);
});

it("D3 a push is a wish to every host that has the mirror, and is over when it was fetched since", async () => {
  const { repository, store } = fixture;
  const other = await fixture.another("another host");
  await other.repositories.updateMirror(repository.id, {
    state: "READY",
    problem: "",
    defaultBranch: "main",
    digest: "1",
  });
  const none = await fixture.another("a host without it");
  for (let time = 0; time < 3; time++) await store.deliveries.wantRefresh([repository.id]);
  const [wanted] = await store.deliveries.dueRefreshes(10);
  expect(wanted).toMatchObject({ repository: { id: repository.id }, attempt: 1 });
  expect(await other.deliveries.dueRefreshes(10)).toHaveLength(1);
  expect(await none.deliveries.dueRefreshes(10)).toEqual([]);
  if (!wanted) throw new Error("nothing is wanted");
  // a push that came while it was fetched
  await other.deliveries.wantRefresh([repository.id]);
  await store.deliveries.refreshed(wanted);
  const [again] = await store.deliveries.dueRefreshes(10);
  expect(again?.mark).not.toBe(wanted.mark);
  if (!again) throw new Error("the later push was forgotten");
  await store.deliveries.refreshed(again);
  expect(await store.deliveries.dueRefreshes(10)).toEqual([]);
  const [elsewhere] = await other.deliveries.dueRefreshes(10);
  if (!elsewhere) throw new Error("the other host's wish is gone");
  await other.deliveries.postponeRefresh(elsewhere);
  expect(await other.deliveries.dueRefreshes(10)).toEqual([]);
  // the next push is tried at once
  await store.deliveries.wantRefresh([repository.id]);
  expect(await other.deliveries.dueRefreshes(10)).toMatchObject([{ attempt: 1 }]);
  await store.deliveries.refreshed((await store.deliveries.dueRefreshes(1))[0] ?? again);
});

it("D3 a fetch that goes on failing is given up", async () => {
  const { repository, store, sql } = fixture;
  await store.deliveries.wantRefresh([repository.id]);
  let attempts = 0;
  for (; attempts < 50; attempts++) {
    await sql`update mirror_refreshes set retry_time = clock_timestamp()`;
    const [wanted] = await store.deliveries.dueRefreshes(1);
    if (!wanted) break;
    await store.deliveries.postponeRefresh(wanted);
  }
  expect(attempts).toBe(11);
});
