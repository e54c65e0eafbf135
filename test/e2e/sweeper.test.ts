/** The sweep drops what a closed issue or age leaves behind, saves work first, and leaves alone what it does not know. */
import { existsSync } from "node:fs";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import { afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { LeaseEndReason } from "../../gen/leasehold/v1/lease_pb.js";
import { SessionCloseReason, SessionState, SubjectState } from "../../gen/leasehold/v1/session_pb.js";
import { SweepEntryKind, SweepOutcome } from "../../gen/leasehold/v1/sweep_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Sql } from "../../src/postgres/client.js";
import { type ForgeSite, useForgeSite } from "../support/forge-site.js";
import { expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
const graceMs = 500;
let site: ForgeSite;
let server: ServerProcess;
let client: Client;
let sql: Sql;
let root: string;
let name: string;
let repositories = 0;
let issues = 0;

beforeAll(async () => {
  root = await servers.directory();
  site = await useForgeSite(servers);
  const databaseUrl = await servers.database();
  server = await servers.start(site.options(`{ interval: 0, grace: ${graceMs}ms }`, { databaseUrl }));
  sql = servers.sql(databaseUrl);
  client = server.client;
});

beforeEach(async () => {
  name = `swept-${++repositories}`;
  const { url } = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url } });
});

afterEach(async () => {
  // what this test leaves is not the next one's
  const { sessions } = await client.sessions.listSessions({});
  for (const { sessionId } of sessions) await client.sessions.closeSession({ sessionId, force: true });
  await client.workspaces.reclaim({ repository: name, includeParked: true });
  await settled(sql, server.dataDir);
});

/** A session about an issue, with unsaved work in its workspace, parked unless it is to live. */
async function session(number: number, binding = `issue-${number}`, live = false) {
  const subject = number > 0 ? { subject: { url: site.issue(number) } } : {};
  const held = await client.acquire({ repository: name, binding, ...subject });
  const { session: opened } = await client.sessions.openSession({ leaseId: held.leaseId, leaseToken: held.leaseToken });
  await writeFile(join(held.path, "work.txt"), `of ${number}\n`);
  if (!live) await client.release(held, { disposition: Disposition.PARK });
  return { ...held, id: opened?.sessionId ?? "", session: opened };
}

async function sweep(dryRun = false) {
  const { sweep: swept, entries } = await client.admin.sweep({ dryRun });
  return { summary: swept?.summary ?? "", sweep: swept, entries };
}

const stateOf = async (sessionId: string) => (await client.sessions.getSession({ sessionId })).session;
const line = (swept: string, skipped: string) => `swept: ${swept}, 0 cache clones; skipped: ${skipped}`;

it("C2 C6 G2 a closed issue's session and workspace go when the grace is over, and plain git gets at the work", async () => {
  const [open, closed, unknown] = [++issues, ++issues, ++issues];
  site.say(open, "open");
  site.say(closed, "closed");
  site.say(unknown, 500);
  const stays = await session(open);
  const goes = await session(closed);
  const live = await session(closed, "another", true);
  const unsure = await session(unknown);
  expect(goes.session?.dropTime).toBeDefined();
  expect((await sweep()).summary).toBe(line("0 sessions, 0 worktrees", "3 (still active), 1 (unknown), 0 (errors)"));
  expect(await stateOf(goes.id)).toMatchObject({ state: SessionState.SUSPENDED, subjectState: SubjectState.CLOSED });
  await sleep(graceMs);
  const revision = (await client.admin.getServerInfo({})).newestRevision;
  const dry = await sweep(true);
  expect(dry.summary).toBe(line("2 sessions, 2 worktrees", "1 (still active), 1 (unknown), 0 (errors)"));
  expect(dry.sweep?.dryRun).toBe(true);
  expect((await client.admin.getServerInfo({})).newestRevision, "a dry run changes nothing").toBe(revision);
  const second = await sweep();
  expect(second.summary).toBe(line("2 sessions, 2 worktrees", "1 (still active), 1 (unknown), 0 (errors)"));
  // what is dropped at once is told in no order
  const told = [...second.entries].sort((a, b) => a.outcome - b.outcome || (a.sessionId < b.sessionId ? -1 : 1));
  expect(told).toMatchObject([
    { outcome: SweepOutcome.DROPPED, reason: "SUBJECT_CLOSED", sessionId: goes.id, subject: site.issue(closed) },
    { outcome: SweepOutcome.DROPPED, reason: "SUBJECT_CLOSED", sessionId: live.id, workspaceId: live.workspaceId },
    { outcome: SweepOutcome.UNKNOWN, kind: SweepEntryKind.SESSION, sessionId: unsure.id },
  ]);
  const dropped = await stateOf(goes.id);
  expect(dropped).toMatchObject({ state: SessionState.CLOSED, closeReason: SessionCloseReason.SUBJECT_CLOSED });
  expect(dropped?.dropTime).toBeUndefined();
  expect(await refusal(client.heartbeat(live))).toMatchObject({
    ...{ code: Code.FailedPrecondition, reason: "LEASE_LOST", metadata: { end_reason: "FORGE_CLOSED" } },
  });
  await settled(sql, server.dataDir);
  expect(existsSync(goes.path)).toBe(false);
  for (const kept of [stays, unsure]) expect((await client.get(kept.workspaceId)).state).toBe(WorkspaceState.PARKED);
  const salvageId = (await stateOf(goes.id))?.salvageId;
  const { salvages } = await client.admin.listSalvages({ salvageId: salvageId ?? "" });
  const { repositoryPath = "", ref = "" } = salvages[0] ?? {};
  await git(root, "init", "--quiet", "--bare", "fetched.git");
  await git(join(root, "fetched.git"), "fetch", "--quiet", repositoryPath, `${ref}:refs/heads/saved`);
  expect(await git(join(root, "fetched.git"), "show", "saved:work.txt")).toBe(`of ${closed}`);
  const events = await client.events(revision + 1n);
  expect(events.find(({ kind }) => kind === EventKind.SWEEP_FINISHED)?.detail).toBe(second.summary);
  const ended = events.find(({ kind, leaseId }) => kind === EventKind.LEASE_ENDED && leaseId === live.leaseId);
  expect(ended).toMatchObject({ reason: LeaseEndReason.FORGE_CLOSED, subject: site.issue(closed), holder: "" });
  expect((await client.admin.getServerInfo({})).lastSweep).toMatchObject({
    ...{ sessions: 2, worktrees: 2, cacheClones: 0, stillActive: 1, unknown: 1, errors: 0, summary: second.summary },
  });
  expect(server.log.filter((text) => JSON.parse(text).msg === second.summary)).toHaveLength(1);
  await expectSoundStore(sql);
  await expectSoundDisk(sql, server.dataDir);
});

it("C2 an issue that is opened again takes its sessions' drop back, and one that is not there drops nothing", async () => {
  const [again, missing] = [++issues, ++issues];
  const reopened = await session(again);
  const gone = await session(missing);
  for (const state of ["closed", "open", "closed"] as const) {
    site.say(again, state);
    await sweep();
    await sleep(graceMs);
  }
  expect(await stateOf(reopened.id)).toMatchObject({ state: SessionState.SUSPENDED });
  expect(await stateOf(gone.id)).toMatchObject({ state: SessionState.SUSPENDED, subjectState: SubjectState.UNKNOWN });
  expect((await sweep()).summary).toBe(line("1 sessions, 1 worktrees", "0 (still active), 1 (unknown), 0 (errors)"));
  expect(await stateOf(reopened.id)).toMatchObject({ state: SessionState.CLOSED });
});

it("C3 age drops what no lease protects, whatever its forge says, and asks nobody", async () => {
  const [unknown, open] = [++issues, ++issues];
  site.say(unknown, 500);
  site.say(open, "open");
  const old = [await session(unknown), await session(open), await session(0, "plain")];
  const live = await session(0, "live", true);
  const parked = await client.acquire({ repository: name, binding: "alone" });
  await client.release(parked, { disposition: Disposition.PARK });
  await sql`update sessions set active_time = now() - interval '31 days' where state <> 'CLOSED'`;
  await sql`update workspaces set park_time = now() - interval '31 days' where state = 'PARKED'`;
  const { summary, entries } = await sweep();
  expect(summary).toBe(line("3 sessions, 4 worktrees", "1 (still active), 0 (unknown), 0 (errors)"));
  expect(entries.map(({ reason }) => reason)).toEqual(["MAX_AGE", "MAX_AGE", "MAX_AGE", "MAX_AGE"]);
  expect([site.asked(unknown), site.asked(open)]).toEqual([0, 0]);
  for (const { id } of old) expect(await stateOf(id)).toMatchObject({ closeReason: SessionCloseReason.MAX_AGE });
  expect(await stateOf(live.id)).toMatchObject({ state: SessionState.ACTIVE });
  await client.heartbeat(live);
  await settled(sql, server.dataDir);
  expect((await client.get(parked.workspaceId)).state).toBe(WorkspaceState.RETIRED);
  await client.releaseAndClean(live);
});

it("C4 a parked workspace that nobody wants goes after a day, an idle one never", async () => {
  const alone = await client.acquire({ repository: name, binding: "alone" });
  const idle = await client.acquire({ repository: name });
  await client.releaseAndClean(idle);
  await writeFile(join(alone.path, "work.txt"), "mine\n");
  await client.release(alone, { disposition: Disposition.PARK });
  await sql`update workspaces set park_time = park_time - interval '23 hours', idle_time = idle_time - interval '90 days'`;
  expect((await sweep()).summary).toBe(line("0 sessions, 0 worktrees", "1 (still active), 0 (unknown), 0 (errors)"));
  await sql`update workspaces set park_time = park_time - interval '1 hour'`;
  expect((await sweep()).entries).toMatchObject([{ workspaceId: alone.workspaceId, reason: "ORPHANED" }]);
  await settled(sql, server.dataDir);
  expect((await client.get(idle.workspaceId)).state).toBe(WorkspaceState.IDLE);
  expect((await client.admin.listSalvages({ workspaceId: alone.workspaceId })).salvages).toMatchObject([{ files: 1n }]);
});

it("C4 what is not ours is told and left alone; our own directories and mirrors without a row go, and work in them is saved", async () => {
  const held = await client.acquire({ repository: name });
  await writeFile(join(held.path, "work.txt"), "forgotten\n");
  await sql`delete from workspaces where id = ${held.workspaceId.slice(1)}`;
  const workspaces = join(server.dataDir, "workspaces");
  const mirrors = join(server.dataDir, "mirrors");
  const foreign = [
    join(workspaces, name, "w99999.1"),
    join(workspaces, name, "notes"),
    join(workspaces, "theirs", "w1.1"),
  ];
  for (const path of foreign) await mkdir(path, { recursive: true });
  await writeFile(join(workspaces, "README"), "theirs");
  await git(mirrors, "init", "--quiet", "--bare", "theirs.git");
  const { url } = await Upstream.make(root, `${name}-gone`);
  await client.admin.registerRepository({ repository: { name: "gone", url } });
  await client.release(await client.acquire({ repository: "gone" }));
  await settled(sql, server.dataDir);
  await client.admin.removeRepository({ name: "gone" });
  await until("its mirror is gone", () => !existsSync(join(mirrors, "gone.git")));
  await cp(join(mirrors, `${name}.git`), join(mirrors, "left.git"), { recursive: true });
  await mkdir(join(mirrors, ".staging", "of-a-crash"), { recursive: true });
  const { summary, entries } = await sweep();
  expect(summary).toBe(
    "swept: 0 sessions, 1 worktrees, 1 cache clones; skipped: 0 (still active), 0 (unknown), 0 (errors)",
  );
  const told = entries.filter(({ outcome }) => outcome === SweepOutcome.FOREIGN).map(({ detail }) => detail);
  expect(told.sort()).toEqual([`${name}/notes`, `${name}/w99999.1`, "README", "theirs.git", "theirs/w1.1"].sort());
  await until("the directory is gone", () => !existsSync(held.path));
  await settled(sql, server.dataDir);
  for (const path of [...foreign, join(workspaces, "README"), join(mirrors, "theirs.git")]) {
    expect(existsSync(path), path).toBe(true);
  }
  expect([existsSync(join(mirrors, "left.git")), existsSync(join(mirrors, ".staging", "of-a-crash"))]).toEqual([
    false,
    false,
  ]);
  expect((await client.admin.listSalvages({ workspaceId: held.workspaceId })).salvages).toMatchObject([{ files: 1n }]);
});

it("D2 the subject of a lease is its session's, is listed and told, and has to be of a configured forge", async () => {
  const number = ++issues;
  const url = site.issue(number);
  const held = await client.acquire({ repository: name, binding: "b", subject: { url: `${url}#issuecomment-1` } });
  expect(held.answer.lease?.subject).toMatchObject({
    url,
    forge: "ours",
    project: "owner/name",
    number: BigInt(number),
  });
  const { session: opened } = await client.sessions.openSession({ leaseId: held.leaseId, leaseToken: held.leaseToken });
  expect(opened?.subject?.url).toBe(url);
  const listed = async () => {
    const states = [WorkspaceState.LEASED, WorkspaceState.PARKED];
    const { workspaces } = await client.workspaces.listActive({ subject: url, states });
    return workspaces.map(({ workspaceId }) => workspaceId);
  };
  expect(await listed()).toEqual([held.workspaceId]);
  await client.release(held, { disposition: Disposition.PARK });
  expect(await listed()).toEqual([held.workspaceId]);
  const acquired = await client.events(1n, { leaseId: held.leaseId, kinds: [EventKind.LEASE_ACQUIRED] });
  expect(acquired).toMatchObject([{ subject: url }]);
  const strange = client.acquire({ repository: name, subject: { url: "https://elsewhere.example/o/n/issues/1" } });
  expect(await refusal(strange)).toMatchObject({ reason: "SUBJECT_UNKNOWN_FORGE", metadata: { forges: "ours" } });
});
