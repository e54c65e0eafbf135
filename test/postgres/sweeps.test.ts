import { afterEach, beforeEach, expect, test } from "vitest";
import type { Lease } from "../../src/domain/lease.js";
import { finishDueWork, openStoreFixture, type StoreFixture } from "../support/store.js";
import { age, day, lease, limits, session, subject } from "../support/store-sessions.js";

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture(10);
});
afterEach(() => fixture.close());

const found = (id: string) => fixture.store.sessions.find(id);
const stateOf = async (lease: Lease) => (await fixture.store.pool.get(lease.workspaceId))?.state;
const drop = (id: string, reason: "SUBJECT_CLOSED" | "MAX_AGE" = "SUBJECT_CLOSED") =>
  fixture.store.sweeps.dropSession(id, reason, limits);
const note = (state: "OPEN" | "CLOSED" | "MERGED", graceMs = limits.graceMs) =>
  fixture.store.sweeps.note(subject.url, state, graceMs, false);

test("C2 a session goes when its subject was seen closed twice the grace apart, and its lease, agents and files with it", async () => {
  const live = await session(fixture, "a", subject, false);
  const parked = await session(fixture, "b", subject, true);
  expect((await found(live.id))?.subject).toEqual(subject);
  expect(await note("CLOSED")).toBe("seen");
  expect(await note("MERGED")).toBe("seen");
  expect((await drop(live.id)).kind).toBe("kept");
  await age(fixture, limits.graceMs);
  expect((await drop(live.id)).kind, "seen again only counts when it is").toBe("kept");
  expect(await note("MERGED")).toBe("confirmed");
  expect(await drop(live.id)).toEqual({ kind: "dropped", workspaceId: live.held.workspaceId });
  expect(await drop(parked.id)).toEqual({ kind: "dropped", workspaceId: parked.held.workspaceId });
  expect(await drop(parked.id)).toMatchObject({ kind: "gone" });
  for (const { id, held } of [live, parked]) {
    expect(await found(id)).toMatchObject({
      ...{ state: "CLOSED", closeReason: "SUBJECT_CLOSED", subjectState: "MERGED" },
      agents: [{ state: "STOPPED", backendSessionId: "", boundPath: "" }],
    });
    expect(await stateOf(held)).toBe("CLEANING");
  }
  expect((await fixture.store.leases.find(live.held))?.endReason).toBe("FORGE_CLOSED");
  const due = await fixture.store.work.claimWork([], "/workspaces", 10);
  expect(due.map(({ kind, guardWork }) => [kind, guardWork])).toEqual([
    ["clean", true],
    ["clean", true],
  ]);
  const told = await fixture.sql<{ kind: string; subject: string }[]>`
    select kind, subject from outbox where kind in ('SESSION_CLOSED', 'LEASE_ENDED') and subject <> '' order by id`;
  expect(told.map(({ kind }) => kind)).toEqual(["LEASE_ENDED", "LEASE_ENDED", "SESSION_CLOSED", "SESSION_CLOSED"]);
});

test("C2 OPEN takes a pending drop back, and a session that began after a sighting gets a grace of its own", async () => {
  const { id } = await session(fixture, "a", subject, true);
  await note("CLOSED");
  await age(fixture, limits.graceMs);
  expect(await note("OPEN")).toBe("open");
  expect(await note("CLOSED")).toBe("seen");
  expect((await drop(id)).kind).toBe("kept");
  await age(fixture, limits.graceMs);
  const late = await session(fixture, "b", subject, true);
  expect(await note("CLOSED")).toBe("confirmed");
  expect((await drop(id)).kind).toBe("dropped");
  expect((await drop(late.id)).kind).toBe("kept");
  expect(await fixture.store.sweeps.note("https://git.example.com/o/n/issues/8", "CLOSED", 0, false)).toBe("nobody");
});

test("C3 age drops whatever is known of the subject, but never what has a live lease", async () => {
  const parked = await session(fixture, "a", subject, true);
  const live = await session(fixture, "b", subject, false);
  const plain = await session(fixture, "c", undefined, true);
  // its session is suspended, and another lease of its binding lives
  const returned = await session(fixture, "d", undefined, true);
  await lease(fixture, "d");
  expect((await drop(parked.id, "MAX_AGE")).kind).toBe("kept");
  await age(fixture, 30 * day);
  await note("OPEN");
  const due = (await fixture.store.sweeps.entries(limits)).map((entry) => [
    entry.kind === "SESSION" ? entry.sessionId : "",
    entry.due,
  ]);
  expect(due).toEqual([
    [parked.id, "MAX_AGE"],
    [live.id, ""],
    [plain.id, "MAX_AGE"],
    [returned.id, "MAX_AGE"],
  ]);
  const outcomes = [];
  for (const { id } of [parked, live, plain, returned]) outcomes.push((await drop(id, "MAX_AGE")).kind);
  expect(outcomes).toEqual(["dropped", "live", "dropped", "live"]);
  expect((await found(parked.id))?.closeReason).toBe("MAX_AGE");
  expect(await stateOf(live.held)).toBe("LEASED");
});

test("C2 a drop touches nothing of another caller's, though its binding has the same name and the same workspace", async () => {
  const mine = await session(fixture, "desk", subject, true);
  // evicted meanwhile; another caller got the workspace and parked it under the same key
  const { sql, store } = fixture;
  await sql`update workspaces set state = 'CLEANING', guard_work = false, fence = fence + 1 where id = ${mine.held.workspaceId.slice(1)}`;
  await finishDueWork(store);
  const theirs = await session(fixture, "desk", undefined, true, "mallory");
  expect(theirs.held.workspaceId).toBe(mine.held.workspaceId);
  await note("CLOSED", 0);
  expect(await store.sweeps.dropSession(mine.id, "SUBJECT_CLOSED", { ...limits, graceMs: 0 })).toEqual({
    ...{ kind: "dropped", workspaceId: "" },
  });
  expect(await stateOf(theirs.held)).toBe("PARKED");
  expect((await found(theirs.id))?.state).toBe("SUSPENDED");
});

test("C2 a lease of the binding that is about something else outlives the session", async () => {
  const { id, held } = await session(fixture, "desk", subject, true);
  const other = { ...subject, url: "https://git.example.com/o/n/issues/8", number: 8 };
  const live = await lease(fixture, "desk", other);
  expect(live.workspaceId).toBe(held.workspaceId);
  await note("CLOSED", 0);
  expect((await fixture.store.sweeps.dropSession(id, "SUBJECT_CLOSED", { ...limits, graceMs: 0 })).kind).toBe(
    "dropped",
  );
  expect(await stateOf(live)).toBe("LEASED");
});

test("C2 while a binding's workspace is being handed out, its session is left for the next time", async () => {
  const { id } = await session(fixture, "desk", subject, true);
  const { sql } = fixture;
  await note("CLOSED", 0);
  await sql`update workspaces set state = 'PREPARING', fence = fence + 1, worker = 1, claim_time = now()`;
  const outcome = await fixture.store.sweeps.dropSession(id, "SUBJECT_CLOSED", { ...limits, graceMs: 0 });
  expect(outcome.kind).toBe("busy");
});

test("C4 a parked workspace that nobody wants is due after a day, also when its session was closed; what was touched stays", async () => {
  const { store, sql } = fixture;
  const alone = await lease(fixture, "a");
  await store.leases.end(alone, "PARKED", "PARK");
  const open = await session(fixture, "b", undefined, true);
  const closed = await session(fixture, "c", undefined, true);
  const about = await lease(fixture, "d", subject);
  await store.leases.end(about, "PARKED", "PARK");
  await age(fixture, day);
  await store.sessions.close(closed.id, { force: true });
  const orphans = async () =>
    (await store.sweeps.entries(limits)).flatMap((entry) => (entry.kind === "WORKSPACE" ? [entry] : []));
  const before = await orphans();
  expect(before.map(({ key, due, subject: s }) => [key.workspaceId, due, s?.url])).toEqual([
    [alone.workspaceId, "ORPHANED", undefined],
    [closed.held.workspaceId, "", undefined],
    [about.workspaceId, "ORPHANED", subject.url],
  ]);
  await age(fixture, day);
  expect((await orphans()).map(({ due }) => due)).toEqual(["ORPHANED", "ORPHANED", "ORPHANED"]);
  const [first, second] = before;
  if (!first || !second) throw new Error("no orphans");
  // its caller came back in between
  await store.leases.end(await lease(fixture, "a"), "PARKED", "PARK");
  expect(await store.sweeps.dropParked(first.key, false, "swept")).toBe(false);
  expect(await store.sweeps.dropParked(second.key, false, "swept")).toBe(true);
  expect(await stateOf(closed.held)).toBe("CLEANING");
  const [row] = await sql<
    { fence: string }[]
  >`select fence from workspaces where id = ${open.held.workspaceId.slice(1)}`;
  const key = { workspaceId: open.held.workspaceId, fence: BigInt(row?.fence ?? 0) };
  expect(await store.sweeps.dropParked(key, false, "swept"), "it has an open session").toBe(false);
  expect(await store.sweeps.dropParked(key, true, "its branch went")).toBe(true);
  expect((await store.work.claimWork([], "/workspaces", 9)).map(({ kind, guardWork }) => [kind, guardWork])).toEqual([
    ["remove", true],
    ["remove", true],
  ]);
});

test("D3 what is parked of a branch is found by the revision and by the branch that was checked out", async () => {
  const { store } = fixture;
  const held = await session(fixture, "a", subject, true);
  await lease(fixture, "b");
  expect(await store.sweeps.parkedOfBranch("demo", "main")).toMatchObject([
    { key: { workspaceId: held.held.workspaceId }, subject: { url: subject.url } },
  ]);
  expect(await store.sweeps.parkedOfBranch("demo", "mai")).toEqual([]);
  expect(await store.sweeps.parkedOfBranch("other", "main")).toEqual([]);
});

test("D3 a webhook's sighting is looked at again when its grace is over, by one server, and not during a sweep", async () => {
  const { store } = fixture;
  const other = await fixture.another("other");
  await session(fixture, "a", subject, true);
  await note("CLOSED");
  await age(fixture, limits.graceMs);
  expect(await store.sweeps.claimRechecks(limits.graceMs, 9), "a sweep's is the next sweep's").toEqual([]);
  await note("OPEN");
  expect(await store.sweeps.note(subject.url, "CLOSED", limits.graceMs, true)).toBe("seen");
  expect(await store.sweeps.claimRechecks(limits.graceMs, 9)).toEqual([]);
  await age(fixture, limits.graceMs);
  const sweep = await store.sweeps.begin(false);
  expect(await store.sweeps.claimRechecks(limits.graceMs, 9)).toEqual([]);
  await store.sweeps.finish(sweep.sweepId, undefined, day);
  const claims = await Promise.all([store, other].map((one) => one.sweeps.claimRechecks(limits.graceMs, 9)));
  expect(claims.flat()).toEqual([subject]);
});
