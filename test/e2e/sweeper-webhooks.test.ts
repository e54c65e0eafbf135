import { existsSync } from "node:fs";
import { beforeAll, expect, it, vi } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type ForgeSite, ifClosed, useForgeSite } from "../support/forge-site.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

// each test starts one server or two, which takes seconds on a slow machine
vi.setConfig({ testTimeout: 90_000 });

const servers = useServers();
let site: ForgeSite;
let root: string;
let issues = 200;
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

const issueEvent = (action: string, number: number) => ({ action, issue: { number } });

it("D3 a webhook does the same at once without a grace, and else when the grace is over and the forge still says so", async () => {
  const databaseUrl = await servers.database();
  const server = await servers.start(site.options("{ interval: 0, grace: 0s }", { databaseUrl }));
  const name = await register(server);
  const number = ++issues;
  const held = await site.session(server, name, number);
  expect(await site.tell(server, "issues", issueEvent("closed", number))).toBe(202);
  await until("the session is dropped", () => ifClosed(server.client, held.id));
  expect(site.asked(number), "the forge had said so itself").toBe(0);
  await until("the workspace is given up", () => !existsSync(held.path));
  await server.stop();

  const patient = await servers.start(
    site.options("{ interval: 0, grace: 1500ms }", { databaseUrl, dataDir: server.dataDir }),
  );
  const [stays, goes, opened] = [++issues, ++issues, ++issues];
  const sessions: { id: string }[] = [];
  for (const one of [stays, goes, opened]) {
    sessions.push(await site.session(patient, name, one));
    expect(await site.tell(patient, "issues", issueEvent("closed", one))).toBe(202);
  }
  site.say(stays, "open");
  site.say(goes, "closed");
  site.say(opened, "closed");
  await site.tell(patient, "issues", issueEvent("reopened", opened));
  await until("the session is dropped", () => ifClosed(patient.client, sessions[1]?.id ?? ""));
  await until("the other was asked for", () => site.asked(stays) === 1);
  for (const one of [sessions[0], sessions[2]]) expect(await ifClosed(patient.client, one?.id ?? "")).toBe(false);
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
  const held: Site[] = [];
  for (const number of [open, closed, unknown]) held.push(await site.session(server, "branchy", number, "topic"));
  const other = await site.session(server, "branchy", closed + 1_000, "main");
  await client.admin.updateRepository({
    ...{ name: "branchy", repository: { url: `${site.api.url}/owner/name.git` }, updateMask: { paths: ["url"] } },
  });
  expect(await site.tell(server, "delete", { ref: "topic", ref_type: "branch" })).toBe(202);
  await until("what is parked of it goes", async () => {
    const { state } = await client.get(held[1]?.workspaceId ?? "");
    return state !== WorkspaceState.PARKED;
  });
  for (const one of [held[0], held[2], other]) {
    expect((await client.get(one?.workspaceId ?? "")).state).toBe(WorkspaceState.PARKED);
  }
  await server.stop();
});
