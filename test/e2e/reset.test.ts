/** Reset: clean again from scratch, whatever state a workspace is in, and never at the cost of unsaved work by mistake. */
import { access, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { WorkspaceAction } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type Client, type Held, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { expectSalvaged, salvageOf, workUnsaved } from "../support/unsaved.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let held: Held;
let repositories = 0;
let root: string;
let name: string;

beforeAll(async () => {
  root = await servers.directory();
  server = await servers.start();
  client = server.client;
});

beforeEach(async () => {
  name = `repository-${++repositories}`;
  const { url } = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url } });
  held = await client.acquire({ repository: name });
});

const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

const reset = async (fields: Parameters<Client["workspaces"]["reset"]>[0]) => {
  const { results } = await client.workspaces.reset({ workspaceId: held.workspaceId, ...fields });
  return results[0];
};

const notARepository = () => join(server.dataDir, "salvages", `${name}.git`);

/** Unsaved work, and the workspace in quarantine because it cannot be salvaged. */
async function quarantine() {
  await writeFile(join(held.path, "notes.txt"), "untracked\n");
  await writeFile(notARepository(), "in the way\n");
  await client.workspaces.reclaim({ leaseIds: [held.leaseId] });
  return client.whenIn(held.workspaceId, WorkspaceState.QUARANTINED);
}

it("D4 a live lease is not reset without force, and ends RESET with it", async () => {
  expect(await reset({})).toMatchObject({ action: WorkspaceAction.NONE, reason: "LEASE_LIVE" });
  await client.heartbeat(held);
  expect(await reset({ force: true })).toMatchObject({ action: WorkspaceAction.LEASE_ENDED, reason: "" });
  const lost = { code: Code.FailedPrecondition, reason: "LEASE_LOST", metadata: { end_reason: "RESET" } };
  expect(await refusal(client.heartbeat(held))).toMatchObject(lost);
  expect(await refusal(client.release(held))).toMatchObject(lost);
  await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
});

it("D4 expected_fence lets nothing happen to a workspace that has moved on", async () => {
  await client.releaseAndClean(held);
  const stale = { expectedFence: held.fence };
  expect(await reset(stale)).toMatchObject({ action: WorkspaceAction.NONE, reason: "FENCE_MISMATCH" });
  const { fence } = await client.get(held.workspaceId);
  expect(await reset({ expectedFence: fence })).toMatchObject({ action: WorkspaceAction.RESET });
});

it("D4 an idle workspace whose files somebody damaged is clean again, file by file", async () => {
  const idle = await client.releaseAndClean(held);
  await writeFile(join(idle.path, "src/main.txt"), "damaged\n");
  await writeFile(join(idle.path, "stray.txt"), "stray\n");
  expect(await reset({})).toMatchObject({ action: WorkspaceAction.RESET });
  const { path } = await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  expect(await readFile(join(path, "src/main.txt"), "utf8")).toBe("one\n");
  expect(await git(path, "status", "--porcelain", "--ignored")).toBe("");
});

it("D4 G2 a forced Reset of a lease with unsaved work salvages it", async () => {
  await workUnsaved(held);
  await reset({ force: true });
  await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  await expectSalvaged(await salvageOf(client, held), root);
});

it("D4 G2 a quarantined workspace stays so, with its files, through Resets, until they can be salvaged", async () => {
  const kept = await quarantine();
  await reset({});
  await until("it was looked at again", async () => (await client.get(held.workspaceId)).fence > kept.fence + 1n);
  const still = await client.whenIn(held.workspaceId, WorkspaceState.QUARANTINED);
  expect(await readFile(join(still.path, "notes.txt"), "utf8")).toBe("untracked\n");
  await rm(notARepository());
  await reset({});
  await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  expect((await salvageOf(client, held)).files).toBe(1n);
});

it("D4 abandon_work destroys unsaved work of the named fence only, and is an event", async () => {
  const kept = await quarantine();
  const incomplete = await refusal(client.workspaces.reset({ workspaceId: held.workspaceId, abandonWork: true }));
  expect(incomplete).toMatchObject({ reason: "FIELD_INVALID", fields: ["abandon_work"] });
  const stale = await reset({ abandonWork: true, expectedFence: kept.fence - 1n });
  expect(stale).toMatchObject({ action: WorkspaceAction.NONE, reason: "FENCE_MISMATCH" });
  expect(await isThere(join(kept.path, "notes.txt"))).toBe(true);
  expect(await client.events(1n, { kinds: [EventKind.WORK_ABANDONED], repository: name })).toEqual([]);
  expect(await reset({ abandonWork: true, expectedFence: kept.fence })).toMatchObject({
    action: WorkspaceAction.RESET,
  });
  const idle = await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  expect(await isThere(join(idle.path, "notes.txt"))).toBe(false);
  expect(await git(idle.path, "status", "--porcelain", "--ignored")).toBe("");
  const [abandoned] = await client.events(1n, { kinds: [EventKind.WORK_ABANDONED], repository: name });
  expect(abandoned).toMatchObject({ workspaceId: held.workspaceId });
});

it("D4 abandon_work with force ends a lease and destroys its work", async () => {
  await writeFile(join(held.path, "notes.txt"), "untracked\n");
  await reset({ abandonWork: true, force: true, expectedFence: held.fence });
  const idle = await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  expect(await isThere(join(idle.path, "notes.txt"))).toBe(false);
  expect(await client.events(1n, { kinds: [EventKind.WORK_ABANDONED], repository: name })).toHaveLength(1);
});

it("D4 Reset of a repository is an outcome for each of its workspaces", async () => {
  const idle = await client.acquire({ repository: name });
  await client.releaseAndClean(idle);
  const { results } = await client.workspaces.reset({ repository: name });
  const outcomes = new Map(
    results.map(({ workspace, action, reason }) => [workspace?.workspaceId, { action, reason }]),
  );
  expect(outcomes).toEqual(
    new Map([
      [held.workspaceId, { action: WorkspaceAction.NONE, reason: "LEASE_LIVE" }],
      [idle.workspaceId, { action: WorkspaceAction.RESET, reason: "" }],
    ]),
  );
  await client.heartbeat(held);
  expect(await refusal(client.workspaces.reset({}))).toMatchObject({ reason: "SELECTOR_REQUIRED" });
  expect(await refusal(client.workspaces.reset({ workspaceId: "w999999" }))).toMatchObject({
    code: Code.NotFound,
    reason: "WORKSPACE_NOT_FOUND",
    metadata: { workspace: "w999999" },
  });
});
