/** What is decided before anything is written: whose lease it is, and that what was chosen is what it was. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { connectPool } from "../../src/postgres/client.js";
import { finishDueWork, makeIdle, openStoreFixture, type StoreFixture } from "../support/store.js";
import { lease, session } from "../support/store-sessions.js";
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
