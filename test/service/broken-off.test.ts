/** What is broken off says nothing of what it was about: work is salvaged later, not quarantined. */
import { writeFileSync } from "node:fs";
import { afterEach, expect, test, vi } from "vitest";
import { Failure } from "../../src/domain/failure.js";
import { acquire, call, openSite } from "../support/services.js";
import { finishDueWork, lease, openStoreFixture, type StoreFixture } from "../support/store.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

// workers, a database and a server's parts in one process: on a busy machine they take their time
vi.setConfig({ testTimeout: 60_000 });

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

async function kept<T extends { close(): Promise<void> }>(opening: Promise<T>): Promise<T> {
  const one = await opening;
  opened.push(one);
  return one;
}

const stateOf = async ({ sql }: StoreFixture) =>
  (await sql<{ state: string; problem: string }[]>`select state, problem from workspaces`)[0];

/** As time does: what was claimed and came to nothing is due again. */
const makeDue = ({ sql }: StoreFixture) =>
  sql`update workspaces set retry_time = null, claim_time = now() - interval '1 minute'`;

test("B2 G2 a salvage that a stop cuts off, after one that was killed, is made by the next server and quarantines nothing", async () => {
  const site = await kept(openSite());
  const upstream = await Upstream.make(site.directory.at("upstreams"), "code");
  await site.register("code", upstream.url);
  const { grant, token } = await acquire(site, "code");
  writeFileSync(`${grant.workspace.path}/mine.txt`, "only here");
  let begun = 0;
  site.before("salvageWork", async () => {
    if (++begun === 1) throw new Failure("DRAINING", "the server is stopping");
    await site.git.close();
  });
  const id = `${grant.lease.workspaceId}.${grant.lease.fence}`;
  const how = { disposition: "CLEAN", waitForClean: false, dependenciesInstalled: false } as const;
  await site.services.workspaces.release({ leaseId: id, token, ...how }, call());
  await until("the first is over", async () => {
    await makeDue(site.fixture);
    return begun >= 2;
  });
  await site.services.stop();
  expect(await stateOf(site.fixture)).toMatchObject({ state: "CLEANING" });
  // nor does the next one wait before it takes it up
  const store = await site.fixture.another();
  await store.ownership.start();
  const [work] = await store.work.claimWork([], "/workspaces", 1);
  expect(work).toMatchObject({ guardWork: true, failures: 0 });
});

test("B2 G2 claims that ended without a result, and rounds of a full disk, are no failures of a workspace", async () => {
  const fixture = await kept(openStoreFixture());
  const { store, sql } = fixture;
  const { lease: held } = await lease(fixture);
  await store.leases.end(held, "RELEASED", "CLEAN");
  const claim = async () => {
    await makeDue(fixture);
    const [work] = await store.work.claimWork([], "/workspaces", 1);
    if (!work) throw new Error("nothing is due");
    return work;
  };
  for (let killed = 0; killed < 6; killed++) await claim();
  for (let full = 0; full < 6; full++) {
    await store.work.finishWork((await claim()).key, { kind: "failed", problem: "full", lacksRoom: true });
  }
  for (let failures = 0; failures < 4; failures++) {
    const work = await claim();
    expect(work).toMatchObject({ failures });
    await store.work.finishWork(work.key, { kind: "failed", problem: "the upstream cannot be reached" });
    expect((await stateOf(fixture))?.state).toBe("CLEANING");
  }
  const [row] = await sql<{ pause: number }[]>`
    select extract(epoch from retry_time - clock_timestamp())::float8 as pause from workspaces`;
  expect(row?.pause).toBeLessThan(17);
  await makeDue(fixture);
  await finishDueWork(store);
  expect(await stateOf(fixture)).toEqual({ state: "IDLE", problem: "" });
});
