/** Sessions outlive their leases: agents that share a workspace come back to it and to their own conversations. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import {
  AgentState,
  ChangeKind,
  ResumeBlocker,
  SessionCloseReason,
  SessionState,
} from "../../gen/leasehold/v1/session_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type AcquireResponse, Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let repositories = 0;
let root: string;
let name: string;

beforeAll(async () => {
  root = await servers.directory();
  const config = join(root, "leasehold.yaml");
  writeFileSync(config, "forges: [{ name: ours, kind: forgejo, url: 'https://git.example.com/' }]\n");
  server = await servers.start({ flags: ["--config", config] });
  client = server.client;
});

beforeEach(async () => {
  name = `session-${++repositories}`;
  const { url } = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url } });
});

const acquire = () => client.workspaces.acquire({ repository: name, binding: "issue-7" });

function release({ lease, leaseToken }: AcquireResponse, disposition = Disposition.PARK) {
  return client.workspaces.release({ leaseId: lease?.leaseId ?? "", leaseToken, disposition });
}

async function open(acquired: AcquireResponse, url = "") {
  const { lease, leaseToken } = acquired;
  const subject = url === "" ? {} : { subject: { url } };
  const answer = await client.sessions.openSession({ leaseId: lease?.leaseId ?? "", leaseToken, ...subject });
  return { reopened: answer.reopened, id: answer.session?.sessionId ?? "", session: answer.session };
}

const issue = "https://git.example.com/owner/name/issues/7";

async function start(acquired: AcquireResponse, sessionId: string, agent: string, conversation: string) {
  const right = { sessionId, leaseToken: acquired.leaseToken, agent };
  const attached = await client.sessions.attachAgent({ ...right, backend: "demo" });
  await client.sessions.updateAgent({ ...right, backendSessionId: conversation, state: AgentState.RUNNING });
  return attached;
}

it("D2 E1 E2 two agents share a session, the server is killed, and both come back to their own conversations", async () => {
  const first = await acquire();
  const { id, reopened, session } = await open(first, `${issue}#comment`);
  expect(reopened).toBe(false);
  expect(session?.subject).toMatchObject({ url: issue, forge: "ours", project: "owner/name", number: 7n });
  const attached = await client.sessions.attachAgent({
    ...{ sessionId: id, leaseToken: first.leaseToken, agent: "ada", backend: "demo" },
    author: { name: "Ada", email: "ada@example.com" },
  });
  expect(attached.environment).toMatchObject({
    GIT_AUTHOR_NAME: "Ada",
    LEASEHOLD_AGENT: "ada",
    LEASEHOLD_SUBJECT: issue,
  });
  expect(Object.values(attached.environment).join()).not.toContain(first.leaseToken);
  await start(first, id, "ada", "conversation-a");
  await start(first, id, "bob", "conversation-b");
  writeFileSync(join(first.workspace?.path ?? "", "notes.txt"), "half done\n");
  await server.kill9();
  await server.start();
  await release(first);
  const suspended = await client.sessions.getSession({ sessionId: id });
  expect(suspended.session?.state).toBe(SessionState.SUSPENDED);
  const blocked = { state: AgentState.STOPPED, resume: { possible: false, blocker: ResumeBlocker.NO_LEASE } };
  expect(suspended.session?.agents).toMatchObject([blocked, blocked]);
  const second = await acquire();
  expect(second.workspace?.path).toBe(first.workspace?.path);
  const again = await open(second);
  expect([again.id, again.reopened]).toEqual([id, true]);
  const resumable = { resume: { possible: true, blocker: ResumeBlocker.UNSPECIFIED } };
  expect(again.session?.agents).toMatchObject([
    { agent: "ada", backendSessionId: "conversation-a", ...resumable },
    { agent: "bob", backendSessionId: "conversation-b", ...resumable },
  ]);
  const late = { sessionId: id, leaseToken: first.leaseToken, agent: "ada", state: AgentState.FAILED };
  expect(await refusal(client.sessions.updateAgent(late))).toMatchObject({ reason: "LEASE_LOST" });
  await release(second, Disposition.CLEAN);
  const kinds = (await client.events(1n)).filter(({ sessionId }) => sessionId === id).map(({ kind }) => kind);
  expect(kinds.filter((kind) => kind === EventKind.SESSION_OPENED)).toHaveLength(2);
  expect(kinds.filter((kind) => kind === EventKind.SESSION_SUSPENDED)).toHaveLength(2);
});

it("D2 what was cleaned, moved or given another backend cannot be resumed, and says why", async () => {
  const first = await acquire();
  const { id } = await open(first);
  await client.sessions.attachAgent({ sessionId: id, leaseToken: first.leaseToken, agent: "new", backend: "demo" });
  await start(first, id, "ada", "moved");
  await release(first, Disposition.CLEAN);
  await client.whenIn(first.workspace?.workspaceId ?? "", WorkspaceState.IDLE);
  const second = await acquire();
  const { session } = await open(second);
  const blockers = Object.fromEntries((session?.agents ?? []).map(({ agent, resume }) => [agent, resume?.blocker]));
  expect(blockers).toEqual({ ada: ResumeBlocker.PATH_CHANGED, new: ResumeBlocker.NEVER_STARTED });
  const right = { sessionId: id, leaseToken: second.leaseToken, agent: "ada" };
  const other = await client.sessions.attachAgent({ ...right, backend: "another" });
  expect(other.agent).toMatchObject({ backendSessionId: "", resume: { blocker: ResumeBlocker.BACKEND_CHANGED } });
  expect(await refusal(client.sessions.attachAgent({ ...right, backend: "demo" }))).toMatchObject({
    reason: "AGENT_STATE",
  });
  expect(await refusal(client.sessions.updateAgent({ ...right, state: AgentState.RUNNING }))).toMatchObject({
    reason: "AGENT_STATE",
  });
  await release(second, Disposition.CLEAN);
});

it("E2 a conversation is one agent's, an agent's version is compared, and ids are erased when the session closes", async () => {
  const held = await acquire();
  const { id } = await open(held);
  await start(held, id, "ada", "mine");
  const right = { sessionId: id, leaseToken: held.leaseToken };
  await client.sessions.attachAgent({ ...right, agent: "bob", backend: "demo" });
  const steal = { ...right, agent: "bob", backendSessionId: "mine" };
  const stolen = await refusal(client.sessions.updateAgent(steal));
  expect(stolen).toMatchObject({ code: Code.AlreadyExists, reason: "BACKEND_SESSION_IN_USE" });
  const stale = { ...right, agent: "bob", expectedVersion: 99n, state: AgentState.FAILED, problem: "x" };
  expect(await refusal(client.sessions.updateAgent(stale))).toMatchObject({
    code: Code.Aborted,
    reason: "VERSION_MISMATCH",
  });
  expect(await refusal(client.sessions.closeSession({ sessionId: id }))).toMatchObject({ reason: "TOKEN_INVALID" });
  const closed = await client.sessions.closeSession({ ...right });
  expect(closed.session).toMatchObject({ state: SessionState.CLOSED, closeReason: SessionCloseReason.REQUESTED });
  expect(closed.session?.agents.map(({ backendSessionId }) => backendSessionId)).toEqual(["", ""]);
  expect((await client.sessions.closeSession({ sessionId: id })).alreadyClosed).toBe(true);
  const dead = client.sessions.attachAgent({ ...right, agent: "ada", backend: "demo" });
  expect(await refusal(dead)).toMatchObject({ reason: "SESSION_CLOSED" });
  // the lease goes on, and may open another one
  expect((await open(held)).reopened).toBe(false);
  await release(held, Disposition.CLEAN);
});

it("E3 changes carry the agent that made them, come without gaps, and are recorded once", async () => {
  const held = await acquire();
  const { id } = await open(held);
  const right = { sessionId: id, leaseToken: held.leaseToken };
  for (const agent of ["ada", "bob"]) await client.sessions.attachAgent({ ...right, agent, backend: "demo" });
  const added = { kind: ChangeKind.ADDED, path: "a.txt", patch: "+a\n" };
  const record = () =>
    client.sessions.recordChange({ ...right, agent: "ada", requestId: "1", changes: [added, added] });
  expect((await record()).changes.map(({ sequence }) => sequence)).toEqual([1n, 2n]);
  expect((await record()).changes.map(({ sequence }) => sequence)).toEqual([1n, 2n]);
  const renamed = { kind: ChangeKind.RENAMED, path: "b.txt", previousPath: "a.txt", patch: "é".repeat(200_000) };
  const large = await client.sessions.recordChange({ ...right, agent: "bob", changes: [renamed] });
  expect(large.changes[0]).toMatchObject({ patchTruncated: true, changeId: `${id}.3`, agent: "bob" });
  expect(Buffer.byteLength(large.changes[0]?.patch ?? "")).toBeLessThanOrEqual(256 * 1024);
  const ofPath = await client.sessions.listChanges({ sessionId: id, path: "a.txt" });
  expect(ofPath.changes.map(({ sequence }) => sequence)).toEqual([1n, 2n, 3n]);
  const page = await client.sessions.listChanges({ sessionId: id, pageSize: 2 });
  const rest = await client.sessions.listChanges({ sessionId: id, pageSize: 2, pageToken: page.nextPageToken });
  expect(rest.changes.map(({ sequence }) => sequence)).toEqual([3n]);
  for (const path of ["../x", "/x", "a//b", ".git/config", "x/.GIT/y"]) {
    const bad = client.sessions.recordChange({ ...right, agent: "ada", changes: [{ kind: ChangeKind.ADDED, path }] });
    expect(await refusal(bad), path).toMatchObject({ reason: "FIELD_INVALID" });
  }
  await release(held, Disposition.CLEAN);
});

it("D2 another subject, an unknown forge, and unknown names are refused; Reset by binding closes", async () => {
  const held = await acquire();
  const { id } = await open(held, issue);
  expect(await refusal(open(held, "https://git.example.com/owner/name/pulls/8"))).toMatchObject({
    reason: "SUBJECT_MISMATCH",
    metadata: { subject: issue },
  });
  expect(await refusal(open(held, "https://elsewhere.example/owner/name/issues/1"))).toMatchObject({
    reason: "SUBJECT_UNKNOWN_FORGE",
    metadata: { forges: "ours" },
  });
  expect(await refusal(client.sessions.getSession({ sessionId: "n99999" }))).toMatchObject({
    reason: "SESSION_NOT_FOUND",
  });
  const unknown = { sessionId: id, leaseToken: held.leaseToken, agent: "nobody", state: AgentState.STOPPED };
  expect(await refusal(client.sessions.updateAgent(unknown))).toMatchObject({ reason: "AGENT_NOT_FOUND" });
  expect(
    (await client.sessions.listSessions({ repository: name, subject: issue })).sessions.map(
      ({ sessionId }) => sessionId,
    ),
  ).toEqual([id]);
  await client.workspaces.reset({ repository: name, binding: "issue-7", force: true });
  const { session } = await client.sessions.getSession({ sessionId: id });
  expect(session).toMatchObject({ state: SessionState.CLOSED, closeReason: SessionCloseReason.RESET });
  expect((await client.sessions.listSessions({ repository: name })).sessions).toEqual([]);
});
