import { existsSync } from "node:fs";
import { beforeAll, expect, it, vi } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { SessionCloseReason } from "../../gen/leasehold/v1/session_pb.js";
import { type ForgeSite, ifClosed, useForgeSite } from "../support/forge-site.js";
import { expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

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

type Site = Awaited<ReturnType<ForgeSite["session"]>>;

async function register(server: ServerProcess) {
  const name = `fleet-${++repositories}`;
  const upstream = await Upstream.make(root, name);
  await server.client.admin.registerRepository({ repository: { name, url: upstream.url } });
  return name;
}

it("C1 a server sweeps at its start, and then every SWEEPER_INTERVAL_HOURS", async () => {
  const databaseUrl = await servers.database();
  const number = ++issues;
  site.say(number, "closed");
  const env = { SWEEPER_INTERVAL_HOURS: "0.0005", MAX_AGE_DAYS: "2" };
  const server = await servers.start(site.options("{ grace: 1s }", { databaseUrl, env }));
  const { client } = server;
  await until("it has swept", async () => (await client.admin.getServerInfo({})).lastSweep);
  const held = await site.session(server, await register(server), number);
  const dropTime = (await client.sessions.getSession({ sessionId: held.id })).session?.dropTime?.seconds ?? 0n;
  expect(Math.abs(Number(dropTime) - Date.now() / 1_000 - 2 * 86_400)).toBeLessThan(60);
  const closed = await until("the session is dropped", () => ifClosed(server.client, held.id));
  expect(closed.closeReason).toBe(SessionCloseReason.SUBJECT_CLOSED);
  await until("the sweep is told", async () => {
    const sweeps = await client.events(1n, { kinds: [EventKind.SWEEP_FINISHED] });
    return sweeps.some(({ detail }) => detail.startsWith("swept: 1 sessions, 1 worktrees, 0 cache clones; "));
  });
  await server.stop();
});

it("C5 G10 two servers that sweep at once ask each subject once and answer the same", async () => {
  const databaseUrl = await servers.database();
  const one = await servers.start(site.options("{ interval: 0, grace: 0s }", { databaseUrl, host: "one" }));
  const two = await servers.start(site.options("{ interval: 0, grace: 0s }", { databaseUrl, host: "two" }));
  const numbers = [++issues, ++issues, ++issues];
  const held: Site[] = [];
  for (const [index, number] of numbers.entries()) {
    site.say(number, index === 0 ? "open" : "closed");
    for (const server of [one, two]) held.push(await site.session(server, await register(server), number));
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
  const held: Site[] = [];
  for (let i = 0; i < 6; i++) {
    site.say(++issues, "closed");
    held.push(await site.session(server, name, issues));
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
  for (const { id } of held) expect(await ifClosed(server.client, id)).toBeTruthy();
  await settled(sql, server.dataDir);
  const { salvages } = await server.client.admin.listSalvages({ repository: name });
  expect(salvages.map(({ leaseId }) => leaseId).sort()).toEqual(held.map(({ leaseId }) => leaseId).sort());
  await expectSoundStore(sql);
  await expectSoundDisk(sql, server.dataDir);
  await server.stop();
});
