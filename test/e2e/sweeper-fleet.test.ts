/** The sweep by itself, by webhooks, by several servers at once, and after a kill. */
import { createHmac, randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it, vi } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { SessionCloseReason, SessionState } from "../../gen/leasehold/v1/session_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type ForgeSite, useForgeSite } from "../support/forge-site.js";
import { expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

// each test starts one server or two, which takes seconds on a slow machine
vi.setConfig({ testTimeout: 90_000 });

const servers = useServers();
let site: ForgeSite;
let root: string;
let issues = 100;
let repositories = 0;

beforeAll(async () => {
  root = await servers.directory();
  site = await useForgeSite(servers);
});

/** A parked session about an issue, with unsaved work. */
async function session(server: ServerProcess, repository: string, number: number, revision = "") {
  const { client } = server;
  const subject = { url: site.issue(number) };
  const held = await client.acquire({ repository, binding: `issue-${number}`, subject, revision });
  const { leaseId, leaseToken, path } = held;
  const { session: opened } = await client.sessions.openSession({ leaseId, leaseToken });
  await writeFile(join(path, "work.txt"), `of ${number}\n`);
  await client.release(held, { disposition: Disposition.PARK });
  return { ...held, id: opened?.sessionId ?? "" };
}

type Held = Awaited<ReturnType<typeof session>>;

async function register(server: ServerProcess) {
  const name = `fleet-${++repositories}`;
  const upstream = await Upstream.make(root, name);
  await server.client.admin.registerRepository({ repository: { name, url: upstream.url } });
  return name;
}

/** As Gitea sends it; answers the status. */
async function webhook(server: ServerProcess, event: string, message: object): Promise<number> {
  const body = JSON.stringify({ ...message, repository: { full_name: "owner/name" } });
  const signature = createHmac("sha256", "hush").update(body).digest("hex");
  const headers = { "x-gitea-event": event, "x-gitea-delivery": randomUUID(), "x-gitea-signature": signature };
  const answer = await fetch(`${server.address}/webhooks/ours`, {
    ...{ method: "POST", body, headers: { ...headers, "content-type": "application/json" } },
  });
  return answer.status;
}

const issueEvent = (action: string, number: number) => ({ action, issue: { number } });

async function isClosed(server: ServerProcess, sessionId: string) {
  const { session: found } = await server.client.sessions.getSession({ sessionId });
  return found?.state === SessionState.CLOSED && found;
}

it("C1 a server sweeps at its start, and then every SWEEPER_INTERVAL_HOURS", async () => {
  const databaseUrl = await servers.database();
  const number = ++issues;
  site.say(number, "closed");
  const env = { SWEEPER_INTERVAL_HOURS: "0.0005", MAX_AGE_DAYS: "2" };
  const server = await servers.start(site.options("{ grace: 1s }", { databaseUrl, env }));
  const { client } = server;
  await until("it has swept", async () => (await client.admin.getServerInfo({})).lastSweep);
  const held = await session(server, await register(server), number);
  const dropTime = (await client.sessions.getSession({ sessionId: held.id })).session?.dropTime?.seconds ?? 0n;
  expect(Math.abs(Number(dropTime) - Date.now() / 1_000 - 2 * 86_400)).toBeLessThan(60);
  const closed = await until("the session is dropped", () => isClosed(server, held.id));
  expect(closed.closeReason).toBe(SessionCloseReason.SUBJECT_CLOSED);
  await until("the sweep is told", async () => {
    const sweeps = await client.events(1n, { kinds: [EventKind.SWEEP_FINISHED] });
    return sweeps.some(({ detail }) => detail.startsWith("swept: 1 sessions, 1 worktrees, 0 cache clones; "));
  });
  await server.stop();
});

it("D3 a webhook does the same at once without a grace, and else when the grace is over and the forge still says so", async () => {
  const databaseUrl = await servers.database();
  const server = await servers.start(site.options("{ interval: 0, grace: 0s }", { databaseUrl }));
  const name = await register(server);
  const number = ++issues;
  const held = await session(server, name, number);
  expect(await webhook(server, "issues", issueEvent("closed", number))).toBe(202);
  await until("the session is dropped", () => isClosed(server, held.id));
  expect(site.asked(number), "the forge had said so itself").toBe(0);
  await until("the workspace is given up", () => !existsSync(held.path));
  await server.stop();

  const patient = await servers.start(
    site.options("{ interval: 0, grace: 1500ms }", { databaseUrl, dataDir: server.dataDir }),
  );
  const [stays, goes, opened] = [++issues, ++issues, ++issues];
  const sessions: Held[] = [];
  for (const one of [stays, goes, opened]) {
    sessions.push(await session(patient, name, one));
    expect(await webhook(patient, "issues", issueEvent("closed", one))).toBe(202);
  }
  site.say(stays, "open");
  site.say(goes, "closed");
  site.say(opened, "closed");
  await webhook(patient, "issues", issueEvent("reopened", opened));
  await until("the session is dropped", () => isClosed(patient, sessions[1]?.id ?? ""));
  await until("the other was asked for", () => site.asked(stays) === 1);
  for (const one of [sessions[0], sessions[2]]) expect(await isClosed(patient, one?.id ?? "")).toBe(false);
  expect(site.asked(opened)).toBe(0);
  await patient.stop();
});

it("D3 a deleted branch takes what is parked of it, unless its subject is open or unknown", async () => {
  const server = await servers.start(site.options("{ interval: 0 }"));
  const { client } = server;
  // the forge's own URL: webhooks find repositories by it
  const upstream = await Upstream.make(root, "branchy");
  await git(upstream.url, "branch", "topic", "main");
  await client.admin.registerRepository({ repository: { name: "branchy", url: upstream.url } });
  const [open, closed, unknown] = [++issues, ++issues, ++issues];
  site.say(open, "open");
  site.say(closed, "closed");
  const held: Held[] = [];
  for (const number of [open, closed, unknown]) held.push(await session(server, "branchy", number, "topic"));
  const other = await session(server, "branchy", closed + 1_000, "main");
  await client.admin.updateRepository({
    ...{ name: "branchy", repository: { url: `${site.api.url}/owner/name.git` }, updateMask: { paths: ["url"] } },
  });
  expect(await webhook(server, "delete", { ref: "topic", ref_type: "branch" })).toBe(202);
  await until("what is parked of it goes", async () => {
    const { state } = await client.get(held[1]?.workspaceId ?? "");
    return state !== WorkspaceState.PARKED;
  });
  for (const one of [held[0], held[2], other]) {
    expect((await client.get(one?.workspaceId ?? "")).state).toBe(WorkspaceState.PARKED);
  }
  await server.stop();
});

it("C5 G10 two servers that sweep at once ask each subject once and answer the same", async () => {
  const databaseUrl = await servers.database();
  const one = await servers.start(site.options("{ interval: 0, grace: 0s }", { databaseUrl, host: "one" }));
  const two = await servers.start(site.options("{ interval: 0, grace: 0s }", { databaseUrl, host: "two" }));
  const numbers = [++issues, ++issues, ++issues];
  const held: Held[] = [];
  for (const [index, number] of numbers.entries()) {
    site.say(number, index === 0 ? "open" : "closed");
    for (const server of [one, two]) held.push(await session(server, await register(server), number));
  }
  const swept = await Promise.all([one, two, one, two].map(({ client }) => client.admin.sweep({})));
  const summary = "swept: 4 sessions, 4 worktrees, 0 cache clones; skipped: 2 (still active), 0 (unknown), 0 (errors)";
  expect(swept.map((answer) => answer.sweep?.summary)).toEqual([summary, summary, summary, summary]);
  expect(swept.filter(({ joined }) => !joined)).toHaveLength(1);
  expect(numbers.map((number) => site.asked(number))).toEqual([1, 1, 1]);
  const sql = servers.sql(databaseUrl);
  for (const { dataDir } of [one, two]) await settled(sql, dataDir);
  const gone = held.slice(2).filter(({ path }) => !existsSync(path));
  expect(gone, "each host's owner removed its own").toHaveLength(4);
  await Promise.all([one.stop(), two.stop()]);
});

it("G12 C7 a server killed in the middle of a sweep leaves no session without its data, and the next sweep does the rest", async () => {
  const databaseUrl = await servers.database();
  const options = site.options("{ interval: 0, grace: 0s }", { databaseUrl });
  const server = await servers.start(options);
  const name = await register(server);
  const held: Held[] = [];
  for (let i = 0; i < 6; i++) {
    site.say(++issues, "closed");
    held.push(await session(server, name, issues));
  }
  const swept = server.client.admin.sweep({}).catch(() => undefined);
  await until("it is in the middle", () => site.asked(issues - 3) > 0);
  await server.kill9();
  await swept;
  const sql = servers.sql(databaseUrl);
  const half = await sql`
    select s.id, s.state, w.state as files from sessions s join workspaces w on w.id = s.workspace_id
     where (s.state = 'CLOSED') <> (w.state <> 'PARKED')`;
  expect(half, "a session goes with its workspace or not at all").toEqual([]);
  await server.start();
  const { sweep } = await server.client.admin.sweep({});
  const { sessions = 0, worktrees = 0, errors = -1 } = sweep ?? {};
  expect([sessions > 0 && sessions < 6, worktrees === sessions, errors]).toEqual([true, true, 0]);
  for (const { id } of held) expect(await isClosed(server, id)).toBeTruthy();
  await settled(sql, server.dataDir);
  const { salvages } = await server.client.admin.listSalvages({ repository: name });
  expect(salvages.map(({ leaseId }) => leaseId).sort()).toEqual(held.map(({ leaseId }) => leaseId).sort());
  await expectSoundStore(sql);
  await expectSoundDisk(sql, server.dataDir);
  await server.stop();
});
