/** What happens outside of leases is told as well, and what a fleet of two hosts refuses. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { beforeAll, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import type { Lease } from "../../gen/leasehold/v1/lease_pb.js";
import { AgentState } from "../../gen/leasehold/v1/session_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { workUnsaved } from "../support/unsaved.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let one: ServerProcess;
let two: ServerProcess;
let client: Client;
let root: string;

beforeAll(async () => {
  root = await servers.directory();
  const databaseUrl = await servers.database();
  one = await servers.start({ databaseUrl, host: "one" });
  two = await servers.start({ databaseUrl, host: "two" });
  client = one.client;
}, 120_000);

async function register(name: string): Promise<string> {
  const { url } = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url } });
  return name;
}

const told = (repository: string, kind: EventKind) =>
  until(`${EventKind[kind]} is told`, async () => (await client.events(1n, { repository, kinds: [kind] })).at(0));

it("G5 an idle workspace that is reset is told CLAIMED, one that cannot be saved QUARANTINED, one that goes RETIRED", async () => {
  const repository = await register("kinds");
  const held = await client.acquire({ repository });
  const { workspaceId } = held;
  await client.releaseAndClean(held);
  await client.workspaces.reset({ workspaceId });
  const claimed = await told(repository, EventKind.WORKSPACE_CLAIMED);
  expect(claimed).toMatchObject({ workspaceId, state: WorkspaceState.CLEANING, previousState: WorkspaceState.IDLE });
  await client.whenIn(workspaceId, WorkspaceState.IDLE);

  const again = await client.acquire({ repository });
  await workUnsaved(again);
  await writeFile(join(one.dataDir, "salvages", `${repository}.git`), "not a repository");
  await client.release(again);
  const kept = await client.whenIn(workspaceId, WorkspaceState.QUARANTINED);
  const quarantined = await told(repository, EventKind.WORKSPACE_QUARANTINED);
  expect(quarantined).toMatchObject({ workspaceId, state: WorkspaceState.QUARANTINED, version: kept.version });
  expect(quarantined.detail).toBe(kept.problem);

  const expectedFence = kept.fence;
  await client.workspaces.reset({ workspaceId, expectedFence, abandonWork: true });
  await client.whenIn(workspaceId, WorkspaceState.IDLE);
  await client.workspaces.reclaim({ workspaceIds: [workspaceId] });
  const retired = await told(repository, EventKind.WORKSPACE_RETIRED);
  expect(retired).toMatchObject({ workspaceId, state: WorkspaceState.RETIRED });
});

it("G5 the removal of a repository is told", async () => {
  const name = await register("removed");
  await client.admin.removeRepository({ name });
  expect(await told(name, EventKind.REPOSITORY_REMOVED)).toMatchObject({ repository: name, workspaceId: "" });
});

it("G5 E2 an agent that is attached, and one that changes, is told with its session and its state", async () => {
  const repository = await register("agents");
  const { leaseId, leaseToken } = await client.acquire({ repository, binding: "desk" });
  const { session } = await client.sessions.openSession({ leaseId, leaseToken });
  const right = { sessionId: session?.sessionId ?? "", leaseToken, agent: "ada" };
  await client.sessions.attachAgent({ ...right, backend: "demo" });
  await client.sessions.updateAgent({ ...right, state: AgentState.RUNNING, backendSessionId: "conversation" });
  const changes = await until("both are told", async () => {
    const events = await client.events(1n, { repository, kinds: [EventKind.AGENT_CHANGED] });
    return events.length >= 2 && events;
  });
  expect(changes.map(({ sessionId, agent, detail }) => [sessionId, agent, detail])).toEqual([
    [right.sessionId, "ada", "STARTING"],
    [right.sessionId, "ada", "RUNNING"],
  ]);
  await client.release({ leaseId, leaseToken });
});

it("G5 heartbeats are no events, and G3 a replay neither is one nor extends the lease", async () => {
  const repository = await register("beats");
  const fields = { repository, requestId: "beats", ttlMs: 20_000 };
  const held = await client.acquire(fields);
  const revision = async () => (await client.workspaces.listActive({})).revision;
  const before = await revision();
  const left = ({ lease }: { lease?: Lease | undefined }) =>
    lease?.remaining === undefined ? 0 : durationMs(lease.remaining);
  for (let beats = 0; beats < 5; beats++) await client.heartbeat(held);
  const expireTime = (await client.get(held.workspaceId)).lease?.expireTime;
  await until("some of its time has passed", async () => left((await client.acquire(fields)).answer) < 19_000);
  const replayed = await client.acquire(fields);
  expect([replayed.leaseId, replayed.leaseToken]).toEqual([held.leaseId, held.leaseToken]);
  expect((await client.get(held.workspaceId)).lease?.expireTime).toEqual(expireTime);
  expect(left(await client.heartbeat(held))).toBeGreaterThan(19_000);
  expect(await revision()).toBe(before);
  await client.release(held);
});

it("D1 G10 a binding whose workspace is on another host is refused with that host's name, and served by it", async () => {
  const repository = await register("elsewhere");
  const fields = { repository, binding: "desk" };
  const held = await client.acquire(fields);
  await client.release(held, { disposition: Disposition.PARK });
  expect(await refusal(two.client.acquire(fields))).toMatchObject({
    code: Code.FailedPrecondition,
    reason: "BINDING_ELSEWHERE",
    metadata: { binding: "desk", host: "one" },
  });
  const back = await two.client.acquire({ ...fields, host: "one" });
  expect(back.path).toBe(held.path);
  await client.release(back);
});

it("G10 a host that a server owns cannot be removed; without it, it is, and that is told", async () => {
  expect(await refusal(client.admin.removeHost({ name: "two" }))).toMatchObject({
    code: Code.FailedPrecondition,
    reason: "HOST_IN_USE",
    metadata: { host: "two" },
  });
  await two.stop();
  await client.admin.removeHost({ name: "two" });
  const removed = await until("it is told", async () => {
    return (await client.events(1n, { kinds: [EventKind.HOST_REMOVED] })).at(0);
  });
  expect(removed).toMatchObject({ host: "two" });
  expect((await client.admin.listHosts({})).hosts.map(({ name }) => name)).toEqual(["one"]);
});
