/** A small file system that fills: what goes first, what is refused and with which numbers, and what goes on all the same. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition, WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { canMount, type SmallDisk, type SmallServer, serveOnSmallDisk } from "../support/small-disk.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const megabyte = 1024 * 1024;
const repository = "full";

describe.skipIf(!canMount())("a disk that is low", () => {
  const servers = useServers();
  let disk: SmallDisk;
  let client: Client;
  let stage: SmallServer;

  beforeAll(async () => {
    stage = await serveOnSmallDisk(servers, repository);
    ({ disk, client } = stage);
  }, 60_000);

  const counts = () => stage.counts();
  const usage = () => stage.usage();
  const idle = async () => (await counts())?.idle ?? 0;

  async function kinds(): Promise<EventKind[]> {
    const { DISK_LOW, DISK_RECOVERED } = EventKind;
    return (await client.events(1n, { kinds: [DISK_LOW, DISK_RECOVERED] })).map(({ kind }) => kind);
  }

  it("G7 D5 what takes how much is told, of everything, and agrees with what is there", async () => {
    const held = await client.acquire({ repository });
    const found = await until("all of it was measured", async () => {
      const host = await usage();
      const [one] = host.repositories;
      return one && one.mirrorBytes > 0n && one.unmeasuredWorkspaces === 0 && one.workspaceBytes > 0n && { host, one };
    });
    expect(found.host.totalBytes).toBe(BigInt(200 * megabyte));
    expect(found.host).toMatchObject({
      diskLow: false,
      lowBytes: BigInt(40 * megabyte),
      minFreeBytes: BigInt(20 * megabyte),
    });
    await until("the reserve is made", async () => (await usage()).reserveBytes === BigInt(10 * megabyte));
    const [size] = found.one.workspaceSizes;
    expect(Number(size?.bytes)).toBeGreaterThan(2_000_000);
    expect(Number(size?.bytes)).toBeLessThan(4_000_000);
    expect(found.one.totalBytes).toBe(found.one.mirrorBytes + found.one.workspaceBytes);
    const listed = (await client.admin.listRepositories({ name: repository })).repositories[0];
    expect(listed?.mirrorBytes).toBe(found.one.mirrorBytes);
    const workspace = await client.get(held.workspaceId);
    expect(workspace.sizeBytes).toBeGreaterThan(2_000_000n);
    // what a lease leaves is measured when it has ended
    writeFileSync(join(held.path, "more.log"), Buffer.alloc(5 * megabyte));
    await client.release({ ...held }, { disposition: Disposition.CLEAN });
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
    expect((await refusal(client.admin.getUsage({ host: "nowhere" }))).reason).toBe("HOST_NOT_FOUND");
  });

  it("G7 D1 below the first mark idle ones go first, then kept dependencies, then parked ones with salvage, and all is told once", async () => {
    const parked = await client.acquire({ repository, binding: "later" });
    writeFileSync(join(parked.path, "work.txt"), "work\n");
    const dependent = await client.acquire({ repository, dependencyManifests: ["README.md"], keepPaths: ["kept.log"] });
    writeFileSync(join(dependent.path, "kept.log"), Buffer.alloc(30 * megabyte, 1));
    const others = await Promise.all([1, 2].map(() => client.acquire({ repository })));
    await client.release(parked, { disposition: Disposition.PARK });
    await client.release(dependent, { dependenciesInstalled: true, waitForClean: true });
    for (const held of others) await client.release(held, { waitForClean: true });
    await until("four are idle", async () => (await idle()) >= 3);
    const before = await kinds();
    const free = await disk.free();
    await disk.fill(35 * megabyte);
    expect(free).toBeGreaterThan(60 * megabyte);
    await until("both are told", async () => (await kinds()).length === before.length + 2, 30_000);
    expect((await kinds()).slice(-2)).toEqual([EventKind.DISK_LOW, EventKind.DISK_RECOVERED]);
    expect(await disk.free()).toBeGreaterThanOrEqual(40 * megabyte);
    expect(await idle()).toBe(1);
    // the idle ones and the kept file were enough
    expect((await client.get(parked.workspaceId)).state).toBe(WorkspaceState.PARKED);
    await disk.fill(36 * megabyte, "more");
    await until("the parked one is gone", async () => (await counts())?.parked === 0, 30_000);
    await client.whenIn(parked.workspaceId, WorkspaceState.RETIRED);
    const { salvages } = await client.admin.listSalvages({ workspaceId: parked.workspaceId });
    expect(salvages).toHaveLength(1);
    expect(await git(disk.path, "-C", salvages[0]?.repositoryPath ?? "", "show", `${salvages[0]?.ref}:work.txt`)).toBe(
      "work",
    );
    expect(await idle()).toBe(1);
    disk.empty();
    disk.empty("more");
    await until("it has recovered", async () => !(await usage()).diskLow);
    const back = await client.acquire({ repository, binding: "later", restoreSalvageId: salvages[0]?.salvageId ?? "" });
    expect(back.answer.lostSalvageId).toBe(salvages[0]?.salvageId);
    expect(readFileSync(join(back.path, "work.txt"), "utf8")).toBe("work\n");
    await client.release(back, { waitForClean: true });
  }, 90_000);

  it("G7 below the second mark a new workspace is refused with numbers, while warm ones, heartbeats and releases go on", async () => {
    await until("one is idle", async () => (await idle()) > 0);
    await disk.fill(15 * megabyte);
    await until("it is low", async () => (await usage()).diskLow);
    const { held, refused } = await stage.takeAll();
    expect(held.length).toBeGreaterThan(0);
    for (const { answer } of held) expect([WorkspaceSource.WARM, WorkspaceSource.REUSED]).toContain(answer.source);
    expect(refused).toMatchObject({ code: Code.ResourceExhausted, reason: "DISK_LOW" });
    const numbers = refused.metadata;
    expect(Number(numbers.free_bytes)).toBeLessThan(20 * megabyte);
    expect(Number(numbers.workspace_bytes)).toBeGreaterThan(2_000_000);
    expect(Number(numbers.needed_bytes)).toBe(20 * megabyte + Number(numbers.workspace_bytes));
    for (const one of held) expect((await client.heartbeat(one)).lease?.leaseId).toBe(one.leaseId);
    const [first, ...others] = held;
    if (first) await client.releaseAndClean(first);
    const again = await client.acquire({ repository });
    expect(again.workspaceId).toBe(first?.workspaceId);
    disk.empty();
    await until("a new one is made again", () =>
      client.acquire({ repository }).then(
        (one) => others.push(one),
        () => false,
      ),
    );
    for (const one of [again, ...others]) await client.releaseAndClean(one);
  }, 60_000);

  it("G7 B5 below the second mark no mirror is begun, and one that had to wait is made once there is room", async () => {
    const root = await servers.directory();
    const upstream = await Upstream.make(root, "late");
    await disk.fill(15 * megabyte);
    const refused = await refusal(client.acquire({ repository: upstream.url }));
    expect(refused).toMatchObject({ code: Code.ResourceExhausted, reason: "DISK_LOW" });
    const problem = async () => (await client.admin.listRepositories({ name: "late" })).repositories[0]?.problem;
    expect(await problem()).toMatch(/no room/);
    disk.empty();
    await client.release(await client.acquire({ repository: "late" }));
    expect(await problem()).toBe("");
  }, 60_000);
});
