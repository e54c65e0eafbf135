/** What is decided before anything is written: whose lease it is, and that what was chosen is what it was. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { connectPool } from "../../src/postgres/client.js";
import { finishDueWork, makeIdle, openStoreFixture, type StoreFixture } from "../support/store.js";
import { lease, session, subject } from "../support/store-sessions.js";
import { until } from "../support/until.js";

let fixture: StoreFixture;
beforeEach(async () => {
  fixture = await openStoreFixture();
});
afterEach(() => fixture.close());

async function events() {
  const { newest } = await fixture.store.events.publish();
  return (await fixture.store.events.read(1n, Number(newest))).filter(({ kind }) => kind.startsWith("SESSION"));
}

test("D2 who holds another caller's token opens no session and changes none", async () => {
  const { sessions } = fixture.store;
  const held = await lease(fixture, "mine", undefined, "ada");
  expect(await sessions.open(held, undefined, { of: "bob" }, "bob")).toEqual({ kind: "foreign" });
  expect(await events()).toEqual([]);
  const opened = await sessions.open(held, undefined, { of: "ada" }, "ada");
  expect(opened.kind).toBe("opened");
  expect(await sessions.open(held, undefined, { of: "bob" }, "bob")).toEqual({ kind: "foreign" });
  expect(await sessions.list({ states: ["ACTIVE", "SUSPENDED"] }, "", 10)).toMatchObject([{ labels: { of: "ada" } }]);
  expect(await events()).toHaveLength(1);
});

test("D2 a session that this lease opened is not told as reopened when it is asked for again, one from before is", async () => {
  const { store } = fixture;
  const first = await lease(fixture, "mine");
  const kinds = async (key: typeof first) => (await store.sessions.open(key, undefined, {})).kind;
  expect([await kinds(first), await kinds(first)]).toEqual(["opened", "opened"]);
  await store.leases.end(first, "PARKED", "PARK");
  const second = await lease(fixture, "mine");
  expect([await kinds(second), await kinds(second)]).toEqual(["reopened", "reopened"]);
});

test("D1 E1 Reset by binding closes its session also where the workspace was given up before", async () => {
  const { store, sql } = fixture;
  const lost = await session(fixture, "mine", undefined, true);
  const other = await session(fixture, "other", undefined, true);
  const [row] = await sql<{ workspace_id: string }[]>`select workspace_id from sessions where id = ${lost.number}`;
  await store.pool.reclaim({
    workspaceIds: [`w${row?.workspace_id}`],
    leaseIds: [],
    includeParked: false,
    dryRun: false,
  });
  await sql`update workspaces set guard_work = false where state = 'CLEANING'`;
  await finishDueWork(store);
  const how = { repository: "demo", binding: "mine", force: false, abandonWork: false };
  expect(await store.pool.reset(how)).toEqual([]);
  expect(await store.sessions.find(lost.id)).toMatchObject({ state: "CLOSED", closeReason: "RESET" });
  expect(await store.sessions.find(other.id)).toMatchObject({ state: "SUSPENDED" });
});

test("D1 Reclaim takes no workspace that was leased and parked since it was chosen as an idle one", async () => {
  const { store, sql } = fixture;
  await makeIdle(fixture, 2);
  const [first, second] = (await store.pool.list({}, "", 10)).workspaces;
  const blocker = connectPool(fixture.database.connection, { max: 1, name: "test" });
  await blocker.unsafe("begin");
  await blocker`select lock_workspace(${first?.id.slice(1) ?? ""})`;
  const reclaiming = store.pool.reclaim({ workspaceIds: [], leaseIds: [], includeParked: false, dryRun: false });
  await until("it has chosen", async () => {
    const waiting = await sql`select from pg_locks where locktype = 'advisory' and not granted
      and database = (select oid from pg_database where datname = current_database())`;
    return waiting.length > 0;
  });
  const { held } = await session(fixture, "mine", undefined, true);
  expect(held.workspaceId).toBe(second?.id);
  await blocker.unsafe("commit");
  await blocker.end();
  const results = await reclaiming;
  expect(results.map(({ action, reason }) => [action, reason])).toEqual([
    ["REMOVED", ""],
    ["NONE", "FENCE_MISMATCH"],
  ]);
  expect((await store.pool.get(held.workspaceId))?.state).toBe("PARKED");
});

test("G4 a renewed lease is told whole, with the time that it has now", async () => {
  const { store } = fixture;
  const held = await lease(fixture, "mine", subject);
  const [renewed] = await store.leases.renew([{ workspaceId: held.workspaceId, fence: held.fence, ttlMs: 90_000 }]);
  const { remainingMs, ...rest } = renewed ?? held;
  const found = await store.leases.find(held);
  expect(rest).toEqual({ ...found, remainingMs: undefined });
  expect(rest).toMatchObject({ subject, ttlMs: 90_000 });
  expect(remainingMs).toBeGreaterThan(89_000);
});

test("E3 a page of changes ends before it is too large for a client, and what follows is told of", async () => {
  const { store } = fixture;
  const { id, held } = await session(fixture, "mine", undefined, false);
  const change = {
    ...{ kind: "MODIFIED", path: "a", previousPath: "", baseCommit: "", commit: "", summary: "" },
    ...{ patch: "x".repeat(100_000), patchTruncated: false },
  } as const;
  await store.sessions.record({ sessionId: id, key: held }, "ada", "", "d", Array(30).fill(change));
  const seen: number[] = [];
  for (let more = true; more; ) {
    const page = await store.sessions.changes(id, {}, BigInt(seen.at(-1) ?? 0), 1_000, 1 << 20);
    expect(page.changes.length).toBeLessThanOrEqual(11);
    expect(page.changes.length).toBeGreaterThan(0);
    seen.push(...page.changes.map(({ sequence }) => Number(sequence)));
    more = page.more;
  }
  expect(seen).toEqual(Array.from({ length: 30 }, (_, index) => index + 1));
  const some = await store.sessions.changes(id, {}, 28n, 1, 1 << 20);
  expect([some.changes.map(({ sequence }) => Number(sequence)), some.more]).toEqual([[29], true]);
  expect((await store.sessions.changes(id, {}, 30n, 1, 1 << 20)).more).toBe(false);
});
