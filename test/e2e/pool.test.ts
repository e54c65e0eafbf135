/** How workspaces come and go: made ahead, bounded, taken back, expired, reset; and that unsaved work outlives all of it. */
import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { LeaseEndReason } from "../../gen/leasehold/v1/lease_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { WorkspaceAction, WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Sql } from "../../src/postgres/client.js";
import { type Client, type Held, refusal } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { expectSalvaged, salvageOf, workUnsaved } from "../support/unsaved.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let client: Client;
let root: string;
let sql: Sql;
let repositories = 0;

beforeAll(async () => {
  root = await servers.directory();
  const databaseUrl = await servers.database();
  client = (await servers.start({ databaseUrl })).client;
  sql = servers.sql(databaseUrl);
});

/** Registers a fresh upstream under a name of its own. */
async function register(fields: { minIdle?: number; maxWorkspaces?: number; stablePath?: boolean } = {}) {
  const name = `repository-${++repositories}`;
  const { url } = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url, ...fields } });
  return name;
}

const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

const listed = async (repository: string, ...states: WorkspaceState[]) =>
  (await client.workspaces.listActive({ repository, states })).workspaces;

/** Lets the lease be overdue and waits for its end. */
async function expire({ workspaceId, fence }: Held): Promise<void> {
  await sql`update leases set ttl = interval '1 ms', expire_time = clock_timestamp() - interval '1 second'
             where workspace_id = ${workspaceId.slice(1)} and fence = ${String(fence)}`;
  await until("the lease has expired", async () => {
    const [row] = await sql<{ reason: string }[]>`
      select end_reason as reason from leases where workspace_id = ${workspaceId.slice(1)} and fence = ${String(fence)}`;
    return row?.reason === "EXPIRED";
  });
}

describe("the pool", () => {
  it("G9 B5 min_idle workspaces are made ahead, and again when they are taken", async () => {
    const name = await register({ minIdle: 2, maxWorkspaces: 3 });
    const idle = () => listed(name, WorkspaceState.IDLE);
    await until("two are idle", async () => (await idle()).length === 2);
    const held = await client.acquire({ repository: name });
    expect(held.answer.source).toBe(WorkspaceSource.WARM);
    await until("a third was made", async () => (await idle()).length === 2);
    const second = await client.acquire({ repository: name });
    await client.release(held);
    await client.release(second);
    await until("all are back", async () => (await idle()).length === 3);
    expect((await listed(name, WorkspaceState.IDLE, WorkspaceState.CLEANING)).length).toBe(3);
  });

  it("G9 B5 max_workspaces bounds the pool, and the refused caller learns its position", async () => {
    const name = await register({ maxWorkspaces: 2 });
    const held = [await client.acquire({ repository: name }), await client.acquire({ repository: name })];
    const refused = await refusal(client.acquire({ repository: name }));
    expect(refused).toMatchObject({
      code: Code.ResourceExhausted,
      reason: "POOL_EXHAUSTED",
      metadata: { position: "1" },
    });
    expect(refused.retryMs).toBeGreaterThan(0);
    for (const one of held) await client.release(one);
    const next = await client.acquire({ repository: name, waitMs: 10_000 });
    expect(held.map(({ workspaceId }) => workspaceId)).toContain(next.workspaceId);
    await client.release(next);
  });

  it("B6 a paused repository hands nothing out, and its leases live on", async () => {
    const name = await register();
    const held = await client.acquire({ repository: name });
    const pause = (paused: boolean) =>
      client.admin.updateRepository({ name, repository: { paused }, updateMask: { paths: ["paused"] } });
    await pause(true);
    expect(await refusal(client.acquire({ repository: name }))).toMatchObject({ reason: "REPOSITORY_PAUSED" });
    await client.heartbeat(held);
    await client.release(held);
    await pause(false);
    await client.release(await client.acquire({ repository: name }));
  });

  it("B2 a repository with stable_path keeps one path through all its leases", async () => {
    const name = await register({ stablePath: true });
    const held = await client.acquire({ repository: name });
    await writeFile(join(held.path, "left.txt"), "left");
    await client.releaseAndClean(held);
    const next = await client.acquire({ repository: name });
    expect(next.path).toBe(held.path);
    expect(await isThere(join(next.path, "left.txt"))).toBe(false);
    await client.release(next);
  });

  it("B6 a removed repository takes its workspaces and mirror with it", async () => {
    const name = await register();
    const held = await client.acquire({ repository: name });
    expect(await refusal(client.admin.removeRepository({ name }))).toMatchObject({ reason: "REPOSITORY_IN_USE" });
    const idle = await client.releaseAndClean(held);
    await client.admin.removeRepository({ name });
    await until("it is removed", async () => {
      const { repositories: found } = await client.admin.listRepositories({ name });
      return found.length === 0 && !(await isThere(idle.path));
    });
    expect(await refusal(client.acquire({ repository: name }))).toMatchObject({ reason: "REPOSITORY_NOT_FOUND" });
  });
});

describe("Reclaim", () => {
  it("A6 older_than takes only what has been idle for as long, and dry_run takes nothing", async () => {
    const name = await register({ maxWorkspaces: 3 });
    const held = [await client.acquire({ repository: name }), await client.acquire({ repository: name })];
    for (const one of held) await client.releaseAndClean(one);
    const [old, young] = held as [Held, Held];
    const hourAgo = sql`clock_timestamp() - interval '1 hour'`;
    await sql`update workspaces set idle_time = ${hourAgo} where id = ${old.workspaceId.slice(1)}`;
    const request = { repository: name, olderThan: durationFromMs(600_000) };
    const dry = await client.workspaces.reclaim({ ...request, dryRun: true });
    expect(dry.results.map((result) => result.workspace?.workspaceId)).toEqual([old.workspaceId]);
    expect((await client.get(old.workspaceId)).state).toBe(WorkspaceState.IDLE);
    const { results } = await client.workspaces.reclaim(request);
    expect(results).toMatchObject([{ action: WorkspaceAction.REMOVED, workspace: { workspaceId: old.workspaceId } }]);
    const gone = await client.whenIn(old.workspaceId, WorkspaceState.RETIRED);
    await until("its directory is gone", async () => !(await isThere(gone.path)));
    expect((await client.get(young.workspaceId)).state).toBe(WorkspaceState.IDLE);
  });

  it("A6 lease_ids ends leases, workspace_ids removes what is not leased, and a batch never fails as a whole", async () => {
    const name = await register();
    const [first, second, third] = await Promise.all([1, 2, 3].map(() => client.acquire({ repository: name })));
    if (!first || !second || !third) throw new Error("three leases");
    await client.releaseAndClean(third);
    const workspaceIds = [second.workspaceId, third.workspaceId, "w999999"];
    const { results } = await client.workspaces.reclaim({
      leaseIds: [first.leaseId, "w1.999999", "junk"],
      workspaceIds,
    });
    expect(results.map(({ action, reason }) => [action, reason])).toEqual([
      [WorkspaceAction.LEASE_ENDED, ""],
      [WorkspaceAction.NONE, "LEASE_LOST"],
      [WorkspaceAction.NONE, "WORKSPACE_NOT_FOUND"],
      [WorkspaceAction.NONE, "LEASE_LIVE"],
      [WorkspaceAction.REMOVED, ""],
      [WorkspaceAction.NONE, "WORKSPACE_NOT_FOUND"],
    ]);
    const lost = { code: Code.FailedPrecondition, reason: "LEASE_LOST", metadata: { end_reason: "RECLAIMED" } };
    expect(await refusal(client.heartbeat(first))).toMatchObject(lost);
    expect(await refusal(client.release(first))).toMatchObject(lost);
    await client.heartbeat(second);
    await client.release(second);
    expect(await refusal(client.workspaces.reclaim({}))).toMatchObject({ reason: "SELECTOR_REQUIRED" });
  });

  it("A5 G2 a reclaimed lease with unsaved work leaves a salvage, and its workspace is leased again", async () => {
    const name = await register();
    const held = await client.acquire({ repository: name, holder: "worker" });
    await workUnsaved(held);
    await client.workspaces.reclaim({ leaseIds: [held.leaseId] });
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
    await expectSalvaged(await salvageOf(client, held), root);
    const next = await client.acquire({ repository: name });
    expect(next.workspaceId).toBe(held.workspaceId);
    expect(await isThere(join(next.path, "notes.txt"))).toBe(false);
    await client.release(next);
  });
});

describe("expiry", () => {
  it("A4 a lease without heartbeats expires by the TTL of seconds that it was granted", async () => {
    const name = await register();
    const held = await client.acquire({ repository: name, ttlMs: 1 });
    expect(held.answer.lease?.ttl).toMatchObject({ seconds: 5n });
    await expire(held);
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
    const lost = { reason: "LEASE_LOST", metadata: { end_reason: "EXPIRED" } };
    expect(await refusal(client.heartbeat(held))).toMatchObject(lost);
    expect(await refusal(client.release(held))).toMatchObject(lost);
    const [end] = await client.events(1n, { leaseId: held.leaseId, kinds: [EventKind.LEASE_ENDED] });
    expect(end).toMatchObject({ reason: LeaseEndReason.EXPIRED, fence: held.fence });
  });

  it("A4 a heartbeat after the expire time, but before the end, renews the lease", async () => {
    const name = await register();
    const held = await client.acquire({ repository: name });
    await sql`update leases set expire_time = clock_timestamp() - interval '1 hour'
               where workspace_id = ${held.workspaceId.slice(1)}`;
    const { lease } = await client.heartbeat(held);
    expect(Number(lease?.remaining?.seconds)).toBeGreaterThan(50);
    await client.release(held);
  });

  it("A5 G2 an expired lease with unsaved work leaves a salvage and a clean workspace", async () => {
    const name = await register();
    const held = await client.acquire({ repository: name });
    await workUnsaved(held);
    await expire(held);
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
    await expectSalvaged(await salvageOf(client, held), root);
  });

  it("A5 an expired lease that leaves nothing but ignored files is cleaned and leased again", async () => {
    const name = await register();
    const held = await client.acquire({ repository: name });
    await writeFile(join(held.path, "build.log"), "ignored\n");
    await expire(held);
    const idle = await client.whenIn(held.workspaceId, WorkspaceState.IDLE, WorkspaceState.QUARANTINED);
    expect(idle.problem).toBe("");
    expect(await isThere(join(idle.path, "build.log"))).toBe(false);
    const next = await client.acquire({ repository: name });
    expect(next.workspaceId).toBe(held.workspaceId);
    await client.release(next);
  });
});
