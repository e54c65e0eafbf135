/** No work is ever lost: whatever ends a lease, what exists nowhere else is saved, found again, and brought back. */
import { access, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { LeaseEndReason } from "../../gen/leasehold/v1/lease_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition, SalvageState } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Sql } from "../../src/postgres/client.js";
import { type Client, type Held, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { expectFiles, expectSalvaged, salvageOf, salvagesOf, workUnsaved } from "../support/unsaved.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let sql: Sql;
let repositories = 0;
let name: string;
let upstream: Upstream;
let held: Held;

beforeAll(async () => {
  root = await servers.directory();
  const databaseUrl = await servers.database();
  server = await servers.start({ databaseUrl });
  client = server.client;
  sql = servers.sql(databaseUrl);
});

beforeEach(async () => {
  name = `repository-${++repositories}`;
  upstream = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url: upstream.url } });
  held = await client.acquire({ repository: name, holder: "worker" });
});

const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

async function expire(): Promise<void> {
  await sql`update leases set ttl = interval '1 ms', expire_time = clock_timestamp() - interval '1 second' where end_time is null`;
}

describe("every way out", () => {
  it.each([
    ["Release", LeaseEndReason.RELEASED, () => client.release(held)],
    ["Release with DISCARD", LeaseEndReason.RELEASED, () => client.release(held, { disposition: Disposition.DISCARD })],
    ["expiry", LeaseEndReason.EXPIRED, expire],
    ["Reclaim", LeaseEndReason.RECLAIMED, () => client.workspaces.reclaim({ leaseIds: [held.leaseId] })],
    [
      "a forced Reset",
      LeaseEndReason.RESET,
      () => client.workspaces.reset({ workspaceId: held.workspaceId, force: true }),
    ],
    ["the repository's removal", LeaseEndReason.RECLAIMED, () => client.admin.removeRepository({ name, force: true })],
  ])("G2 saves what %s would destroy, and plain git fetches it", async (_way, reason, end) => {
    await workUnsaved(held);
    await end();
    const salvage = await salvageOf(client, held);
    const { leaseId, workspaceId } = held;
    expect(salvage).toMatchObject({
      repository: name,
      host: server.host,
      leaseId,
      workspaceId,
      holder: "worker",
      reason,
    });
    expect(salvage.salvageId).toBe(`s${leaseId.slice(1)}`);
    expect(salvage.repositoryPath).toBe(join(server.dataDir, "salvages", `${name}.git`));
    await expectSalvaged(salvage, root);
    const gone = [WorkspaceState.IDLE, WorkspaceState.RETIRED];
    await until("the workspace is clean or gone", async () => {
      const found = await client.get(workspaceId).catch(() => undefined);
      return found === undefined || gone.includes(found.state);
    });
    expect(await isThere(held.path)).toBe(false);
    expect(await salvagesOf(client, { repository: name })).toHaveLength(1);
    const [created] = await client.events(1n, { leaseId, kinds: [EventKind.SALVAGE_CREATED] });
    expect(created).toMatchObject({ salvageId: salvage.salvageId, holder: "worker", reason });
  });

  it("G2 a clean workspace whose commits were pushed leaves no salvage", async () => {
    await writeFile(join(held.path, "src/main.txt"), "pushed\n");
    await git(held.path, "commit", "--quiet", "--all", "--message", "Pushed");
    await git(held.path, "push", "--quiet", "origin", "main");
    await writeFile(join(held.path, "build.log"), "ignored\n");
    const released = await client.release(held, { waitForClean: true });
    expect(released).toMatchObject({ salvageState: SalvageState.NONE, workspace: { state: WorkspaceState.IDLE } });
    expect(released.salvage).toBeUndefined();
    expect(await salvagesOf(client, { repository: name })).toEqual([]);
    expect(await isThere(join(server.dataDir, "salvages", `${name}.git`))).toBe(false);
  });

  it("G2 Release tells what became of the work: pending at once, saved when it is clean, and so again later", async () => {
    await workUnsaved(held);
    expect(await client.release(held)).toMatchObject({ salvageState: SalvageState.PENDING });
    const { salvageId } = await salvageOf(client, held);
    const again = await client.release(held, { waitForClean: true });
    expect(again).toMatchObject({ alreadyReleased: true, salvageState: SalvageState.SAVED, salvage: { salvageId } });
    const next = await client.acquire({ repository: name });
    await writeFile(join(next.path, "more.txt"), "more\n");
    const waited = await client.release(next, { waitForClean: true });
    expect(waited).toMatchObject({ salvageState: SalvageState.SAVED, workspace: { state: WorkspaceState.IDLE } });
    expect(waited.salvage).toMatchObject({ leaseId: next.leaseId });
  });
});

describe("work that cannot be saved", () => {
  it("G2 stays in quarantine, untouched, until it can be", async () => {
    await workUnsaved(held);
    const inTheWay = join(server.dataDir, "salvages", `${name}.git`);
    await writeFile(inTheWay, "not a repository");
    await client.workspaces.reclaim({ leaseIds: [held.leaseId] });
    const kept = await client.whenIn(held.workspaceId, WorkspaceState.QUARANTINED);
    expect(kept.problem).toContain("could not be salvaged");
    await expectFiles(kept.path);
    await client.workspaces.reclaim({ workspaceIds: [held.workspaceId] });
    await until("it was tried again", async () => (await client.get(held.workspaceId)).fence > kept.fence + 1n);
    await expectFiles((await client.whenIn(held.workspaceId, WorkspaceState.QUARANTINED)).path);
    expect(await refusal(client.admin.removeRepository({ name }))).toMatchObject({ reason: "REPOSITORY_IN_USE" });
    await rm(inTheWay);
    await client.workspaces.reset({ workspaceId: held.workspaceId });
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
    await expectSalvaged(await salvageOf(client, held), root);
  });

  it("G2 is destroyed by abandon_work only", async () => {
    await workUnsaved(held);
    const request = { workspaceId: held.workspaceId, expectedFence: held.fence, force: true, abandonWork: true };
    await client.workspaces.reset(request);
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
    expect(await salvagesOf(client, { repository: name })).toEqual([]);
    expect(await client.events(1n, { repository: name, kinds: [EventKind.WORK_ABANDONED] })).toHaveLength(1);
  });
});

describe("restoring", () => {
  it("G2 brings files, index and commits back, as often as one likes, and keeps the salvage", async () => {
    await workUnsaved(held);
    const status = await git(held.path, "status", "--porcelain", "--untracked-files=all");
    const head = await git(held.path, "rev-parse", "HEAD");
    await client.release(held, { waitForClean: true });
    const { salvageId } = await salvageOf(client, held);
    const requestId = `restore ${name}`;
    const restored = await client.acquire({ repository: name, restoreSalvageId: salvageId, requestId });
    await expectFiles(restored.path);
    expect(await git(restored.path, "rev-parse", "HEAD")).toBe(head);
    expect(await git(restored.path, "status", "--porcelain", "--untracked-files=all")).toBe(status);
    expect(restored.answer.resolvedCommit).toBe(held.answer.resolvedCommit);
    const [event] = await client.events(1n, { leaseId: restored.leaseId, kinds: [EventKind.SALVAGE_RESTORED] });
    expect(event).toMatchObject({ salvageId, workspaceId: restored.workspaceId });
    // what was restored exists nowhere else but in the salvage: it is saved again
    await client.release(restored, { waitForClean: true });
    expect(await salvagesOf(client, { repository: name })).toHaveLength(2);
    const again = await client.acquire({ repository: upstream.url, restoreSalvageId: salvageId, host: "*" });
    await expectFiles(again.path);
    await client.release(again);
  });

  it("G2 a request that is repeated gets its lease, also after the salvage is gone", async () => {
    await workUnsaved(held);
    await client.release(held, { waitForClean: true });
    const { salvageId: restoreSalvageId } = await salvageOf(client, held);
    const request = { repository: name, requestId: `again ${name}`, restoreSalvageId };
    const first = await client.acquire(request);
    expect(await refusal(client.acquire({ ...request, restoreSalvageId: "" }))).toMatchObject({
      reason: "REQUEST_ID_REUSED",
    });
    await client.admin.discardSalvage({ salvageId: restoreSalvageId });
    const second = await client.acquire(request);
    expect([second.leaseId, second.leaseToken]).toEqual([first.leaseId, first.leaseToken]);
    const late = { repository: name, requestId: `late ${name}`, restoreSalvageId };
    expect(await refusal(client.acquire(late))).toMatchObject({ reason: "SALVAGE_NOT_FOUND" });
    await client.release(first);
  });

  it("G2 a salvage of another repository, of another host, or none at all is SALVAGE_NOT_FOUND", async () => {
    await workUnsaved(held);
    await client.release(held, { waitForClean: true });
    const { salvageId: restoreSalvageId } = await salvageOf(client, held);
    const other = await Upstream.make(root, `${name}-other`);
    const refused = { code: Code.NotFound, reason: "SALVAGE_NOT_FOUND" };
    expect(await refusal(client.acquire({ repository: other.url, restoreSalvageId }))).toMatchObject(refused);
    expect(await refusal(client.acquire({ repository: name, restoreSalvageId, host: "elsewhere" }))).toMatchObject(
      refused,
    );
    expect(await refusal(client.acquire({ repository: name, restoreSalvageId: "s999.1" }))).toMatchObject(refused);
    const both = client.acquire({ repository: name, restoreSalvageId, branch: "x" });
    expect(await refusal(both)).toMatchObject({ reason: "FIELD_INVALID", fields: ["branch"] });
  });

  it("G2 a salvage whose repository was removed is restored to one that is registered again", async () => {
    await workUnsaved(held);
    await client.admin.removeRepository({ name, force: true });
    const { salvageId } = await salvageOf(client, held);
    await until("it is removed", async () => {
      const { repositories: found } = await client.admin.listRepositories({ name });
      return found.length === 0;
    });
    await client.admin.registerRepository({ repository: { name, url: upstream.url } });
    const restored = await client.acquire({ repository: name, restoreSalvageId: salvageId });
    await expectFiles(restored.path);
    await client.release(restored);
  });
});

describe("the end of a salvage", () => {
  it("G2 a discarded one is gone at once, and its bytes soon after", async () => {
    await workUnsaved(held);
    await client.release(held, { waitForClean: true });
    const { salvageId, repositoryPath } = await salvageOf(client, held);
    await client.admin.discardSalvage({ salvageId });
    expect(await salvagesOf(client, { salvageId })).toEqual([]);
    expect(await refusal(client.admin.discardSalvage({ salvageId }))).toMatchObject({ reason: "SALVAGE_NOT_FOUND" });
    await until("the last one takes the repository with it", async () => !(await isThere(repositoryPath)));
    const [event] = await client.events(1n, { repository: name, kinds: [EventKind.SALVAGE_DISCARDED] });
    expect(event).toMatchObject({ salvageId, holder: "worker" });
  });

  it("G2 a salvage is kept for 14 days where nobody says otherwise", async () => {
    await workUnsaved(held);
    await client.release(held, { waitForClean: true });
    const { createTime, expireTime } = await salvageOf(client, held);
    const seconds = Number(expireTime?.seconds) - Number(createTime?.seconds);
    expect(Math.abs(seconds - 14 * 86_400)).toBeLessThanOrEqual(1);
  });

  it("G2 one whose time is over expires, others stay", async () => {
    const short = {
      name,
      repository: { salvageTtl: durationFromMs(3_600_000) },
      updateMask: { paths: ["salvage_ttl"] },
    };
    await client.admin.updateRepository(short);
    await workUnsaved(held);
    await client.release(held, { waitForClean: true });
    const first = await salvageOf(client, held);
    const seconds = Number(first.expireTime?.seconds) - Number(first.createTime?.seconds);
    expect(Math.abs(seconds - 3_600)).toBeLessThanOrEqual(1);
    const next = await client.acquire({ repository: name });
    await writeFile(join(next.path, "more.txt"), "more\n");
    await client.release(next, { waitForClean: true });
    const second = await salvageOf(client, next);
    await sql`update salvages set expire_time = now() - interval '1 second' where id = ${first.salvageId}`;
    await until("it expired", async () => (await salvagesOf(client, { salvageId: first.salvageId })).length === 0);
    const [event] = await client.events(1n, { repository: name, kinds: [EventKind.SALVAGE_EXPIRED] });
    expect(event).toMatchObject({ salvageId: first.salvageId });
    await until("its ref is gone", async () => !(await git(second.repositoryPath, "for-each-ref")).includes(first.ref));
    expect(await git(second.repositoryPath, "cat-file", "-p", `${second.ref}:more.txt`)).toBe("more");
    expect(await readFile(join(root, `${name}.git`, "HEAD"), "utf8")).toContain("main");
  });
});
