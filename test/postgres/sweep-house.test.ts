import { afterEach, beforeEach, expect, test } from "vitest";
import type { Lease } from "../../src/domain/lease.js";
import type { SweepReport } from "../../src/domain/sweep.js";
import { SweepTally } from "../../src/service/sweep/sweep-tally.js";
import { finishDueWork, hostName, openStoreFixture, type StoreFixture } from "../support/store.js";
import { age, day, hour, lease, limits, session, subject } from "../support/store-sessions.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture(10);
});
afterEach(() => fixture.close());

const found = (id: string) => fixture.store.sessions.find(id);
const stateOf = async (lease: Lease) => (await fixture.store.pool.get(lease.workspaceId))?.state;
const note = (state: "OPEN" | "CLOSED", graceMs = limits.graceMs) =>
  fixture.store.sweeps.note(subject.url, state, graceMs, false);

function report(): SweepReport {
  return new SweepTally().report(false);
}

test("C1 G10 one sweep at a time in the fleet; one whose server died makes way, and its late report counts for nothing", async () => {
  const { store, sql } = fixture;
  const other = await fixture.another("other");
  const begun = await Promise.all([store, other, store, other].map((one) => one.sweeps.begin(false)));
  expect(begun.filter(({ kind }) => kind === "begun")).toHaveLength(1);
  expect(new Set(begun.map(({ sweepId }) => sweepId)).size).toBe(1);
  const [{ sweepId } = { sweepId: 0n }] = begun;
  await expect(sql`insert into sweeps (server_id, dry_run) values (1, false)`).rejects.toThrow("one_sweep_at_a_time");
  await expect(sql`update sweeps set report = '{}'`).rejects.toThrow("only_ended_sweeps_have_a_report");
  expect(await store.sweeps.outcome(sweepId)).toBeUndefined();
  await sql`update sweeps set seen_time = now() - interval '11 seconds'`;
  expect(await store.sweeps.outcome(sweepId), "broken off").toEqual({});
  const next = await other.sweeps.begin(true);
  expect(next).toMatchObject({ kind: "begun", dryRun: true });
  expect(await store.sweeps.keep(sweepId)).toBe(false);
  expect(await store.sweeps.finish(sweepId, report(), day)).toBe(false);
  expect(await other.sweeps.finish(next.sweepId, report(), day)).toBe(true);
  expect(await store.sweeps.last(), "a dry run is none").toBeUndefined();
  expect(await sql`select 1 from outbox where kind = 'SWEEP_FINISHED'`).toEqual([]);
});

test("C6 a finished sweep is an event and is remembered; closed sessions and what was said of their subjects go with events", async () => {
  const { store, sql } = fixture;
  const { id } = await session(fixture, "a", subject, true);
  await note("CLOSED", 0);
  await store.sweeps.dropSession(id, "SUBJECT_CLOSED", { ...limits, graceMs: 0 });
  const finish = async () => store.sweeps.finish((await store.sweeps.begin(false)).sweepId, report(), 7 * day);
  await finish();
  const summary = "swept: 0 sessions, 0 worktrees, 0 cache clones; skipped: 0 (still active), 0 (unknown), 0 (errors)";
  expect((await store.sweeps.last())?.report.summary).toBe(summary);
  expect(await sql`select detail from outbox where kind = 'SWEEP_FINISHED'`).toEqual([{ detail: summary }]);
  expect((await found(id))?.subjectState).toBe("CLOSED");
  await age(fixture, 8 * day);
  await finish();
  expect(await found(id)).toBeUndefined();
  expect(await sql`select url from subjects`).toEqual([]);
});

test("C2 no SQL gives a subject an answer that no forge gave, or a closing without a time", async () => {
  const { sql } = fixture;
  await session(fixture, "a", subject, false);
  await note("CLOSED");
  await expect(sql`update subjects set state = 'UNKNOWN'`).rejects.toThrow("a_subject_is_what_a_forge_said");
  await expect(sql`update subjects set close_time = null`).rejects.toThrow("only_closed_subjects_have_a_close_time");
  await expect(sql`update subjects set state = 'OPEN'`).rejects.toThrow("only_closed_subjects_have_a_close_time");
  await expect(sql`update subjects set check_time = now() - interval '1 day'`).rejects.toThrow(
    "sightings_are_in_order",
  );
});

test("A6 idle workspaces beyond their idle_ttl go, the longest idle first, and min_idle of them stay", async () => {
  const { store, sql } = fixture;
  const held = [];
  for (let i = 0; i < 4; i++) held.push(await lease(fixture, ""));
  for (const one of held) await store.leases.end(one, "RELEASED", "CLEAN");
  await finishDueWork(store);
  await age(fixture, 2 * hour);
  expect(await store.sweeps.retireIdle(10), "without an idle_ttl").toBe(0);
  await store.repositories.update("demo", { idleTtlMs: hour, minIdle: 2 });
  await sql`update workspaces set idle_time = clock_timestamp() where id = (select max(id) from workspaces)`;
  await sql`update workspaces set idle_time = idle_time - interval '1 hour' where id = (select min(id) from workspaces)`;
  expect(await store.sweeps.retireIdle(1)).toBe(1);
  expect(await stateOf(held[0] as Lease)).toBe("CLEANING");
  expect(await store.sweeps.retireIdle(10), "two are to be left").toBe(1);
  await store.repositories.update("demo", { minIdle: 0 });
  expect(await store.sweeps.retireIdle(10)).toBe(1);
  expect(await store.sweeps.retireIdle(10), "the last one is not due").toBe(0);
  const states = await Promise.all(held.map(stateOf));
  expect(states.filter((state) => state === "IDLE")).toHaveLength(1);
});

test("C4 a directory without a row gets one again only if it is ours, and its number was given here", async () => {
  const { store, sql } = fixture;
  const held = await lease(fixture, "");
  const adopt = (workspaceId: string, marked: boolean, repository = "demo") =>
    store.sweeps.adopt({
      ...{ path: `/workspaces/${repository}/${workspaceId}.4`, repository, marked },
      key: { workspaceId, fence: 4n },
    });
  expect(await adopt(held.workspaceId, true), "that fence was never given").toBe("foreign");
  await sql`update workspaces set fence = 4`;
  expect(await adopt(held.workspaceId, true)).toBe("known");
  expect(await adopt(held.workspaceId, true, "nothing"), "it is another repository's").toBe("foreign");
  await sql`update leases set fence = 4`;
  await store.leases.end({ ...held, fence: 4n }, "RELEASED", "DISCARD");
  await finishDueWork(store);
  await sql`delete from workspaces`;
  expect(await adopt(held.workspaceId, false)).toBe("foreign");
  expect(await adopt("w999", true)).toBe("foreign");
  expect(await adopt(held.workspaceId, true, "nothing")).toBe("foreign");
  const stranger = await fixture.another("stranger");
  const directory = { path: "/w", repository: "demo", key: { ...held, fence: 4n }, marked: true };
  expect(await stranger.sweeps.adopt(directory), "who does not own the host adopts nothing").toBe("known");
  expect(await adopt(held.workspaceId, true)).toBe("adopted");
  expect(await adopt(held.workspaceId, true)).toBe("known");
  const [work] = await store.work.claimWork([], "/workspaces", 1);
  expect(work).toMatchObject({ kind: "remove", guardWork: true, path: `/workspaces/demo/${held.workspaceId}.4` });
  expect(work?.key.fence).toBeGreaterThan(4n);
  expect(fixture.store.ownership.host.name).toBe(hostName);
});
