/**
 * The disk of the data directory is really full, or really read-only, while leases begin and end: errors say so, nothing
 * is lost, and once there is room again everything goes on without a restart.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type Lane, Stage, traces } from "../hostile/stage.js";
import { belongingsOf, lost } from "../property/belongings.js";
import { type Held, readRefusal } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { again, work } from "./recovery.js";

/** A small file system of its own, which root alone can mount. */
const canMount = (() => {
  const probe = "/tmp/leasehold-mount-probe";
  try {
    mkdirSync(probe, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", probe], { stdio: "ignore" });
    execFileSync("umount", [probe]);
    return true;
  } catch {
    process.stdout.write("skipped: no file system can be mounted here, so none can be full\n");
    return false;
  } finally {
    rmSync(probe, { recursive: true, force: true });
  }
})();

describe.skipIf(!canMount)("a disk", () => {
  const servers = useServers();
  let stage: Stage;
  let disk: string;
  let lane: Lane;
  let held: Held;

  servers.atEnd(async () => {
    await stage?.server.kill9();
    // workers die with their server, and hold the file system until then
    if (disk) await until("the disk is free", () => succeeds("umount", disk));
  });
  beforeAll(async () => {
    const root = await servers.directory();
    disk = join(root, "disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=48m", "tmpfs", disk]);
    const databaseUrl = await servers.database();
    stage = await Stage.open(servers, 1, { root, databaseUrl, dataDir: join(disk, "data") });
  }, 180_000);
  afterAll(() => stage?.close());

  beforeEach(async () => {
    await stage.withLane(async (one) => {
      lane = one;
      held = lane.held ?? (await stage.acquire(lane));
    });
  });

  const faults = [
    ["full", fill, empty],
    ["read-only", () => remount("ro"), () => remount("rw")],
  ] as const;

  async function fill(): Promise<void> {
    const { bavail, bsize } = await statfs(disk);
    // not even a directory fits
    writeFileSync(join(disk, "ballast"), Buffer.alloc(bavail * bsize));
  }

  function empty(): void {
    rmSync(join(disk, "ballast"));
  }

  /** Idle workers keep files of earlier workspaces open that are gone, which stands against it: they are replaced. */
  async function remount(how: "ro" | "rw"): Promise<void> {
    await until(`the disk is ${how}`, () => {
      if (succeeds("mount", "-o", `remount,${how}`, disk)) return true;
      succeeds("pkill", "-KILL", "--parent", String(stage.server.pid), "--full", "git/worker/main.js");
      return false;
    });
  }

  describe.each(faults)("that is %s", (fault, begin, end) => {
    it("B2 G2 when work is to be saved keeps the work, says why, and the work is saved when there is room", async () => {
      await stage.play(`TAG="disk $RANDOM"; ${work}`, lane);
      const had = await belongingsOf(held.path);
      await begin();
      lane.held = undefined;
      await stage.client.release(held);
      const stuck = await until("the server says why", async () => {
        const { state, problem } = await stage.client.get(held.workspaceId);
        return (problem !== "" || state === WorkspaceState.QUARANTINED) && { problem };
      });
      expect(stuck.problem).toMatch(/disk (failed or )?is full|disk failed/);
      await end();
      await recover();
      const { salvages } = await stage.client.admin.listSalvages({ leaseId: held.leaseId });
      expect(salvages).toHaveLength(1);
      const kept = salvages.map(({ repositoryPath, ref }) => ({ repository: repositoryPath, ref }))[0];
      expect(await lost(had, { upstream: lane.url, salvage: kept })).toEqual([]);
      await expectFresh();
    }, 90_000);

    it("B2 A5 when a workspace without work is cleaned goes on by itself when there is room", async () => {
      await stage.play("echo junk > x.log; mkdir build; echo o > build/o", lane);
      await begin();
      lane.held = undefined;
      await stage.client.release(held);
      await until("the server says why, or its reserve was enough", async () => {
        const { problem, state } = await stage.client.get(held.workspaceId);
        return problem !== "" || (fault === "full" && state === WorkspaceState.IDLE);
      });
      await end();
      await recover();
      await expectFresh();
    }, 90_000);

    it("B2 when a workspace is to be made is told to the caller, and the next call gets one", async () => {
      const request = { repository: "another", waitMs: 1_000 };
      const { client } = stage;
      const url = join(stage.root, "another.git");
      cpSync(join(stage.root, "seed.git"), url, { recursive: true });
      await client.admin.registerRepository({ repository: { name: "another", url } });
      await client.release(await client.acquire({ ...request, waitMs: 20_000 }), { waitForClean: true });
      const first = await client.acquire(request);
      await begin();
      const [outcome] = await Promise.allSettled([client.acquire(request)]);
      if (outcome.status === "rejected") expect(readRefusal(outcome.reason).reason).toMatch(/^(DISK_LOW|HOST_IO)$/);
      else {
        // what was idle has made room for it
        expect(fault).toBe("full");
        await client.release(outcome.value);
      }
      await end();
      const second = await again("a workspace is made", () => client.acquire({ ...request, waitMs: 20_000 }));
      for (const one of [first, second]) await client.release(one, { waitForClean: true });
      await client.admin.removeRepository({ name: "another", force: true });
    }, 90_000);
  });

  /** By itself; where work could not be saved, an operator has to say that it can be now. */
  async function recover(): Promise<void> {
    const { workspaceId } = held;
    const { IDLE, QUARANTINED } = WorkspaceState;
    const found = await until("it goes on", () => stage.client.whenIn(workspaceId, IDLE, QUARANTINED), 60_000);
    if (found.state === QUARANTINED) await stage.client.workspaces.reset({ workspaceId });
    await until("it is clean", () => stage.client.whenIn(workspaceId, IDLE), 60_000);
    expect(stage.server.running).toBe(true);
  }

  async function expectFresh(): Promise<void> {
    const next = await stage.acquire(lane);
    expect(await traces(next.path, lane.fresh)).toEqual([]);
    expect(await stage.damage()).toEqual([]);
  }
});

function succeeds(command: string, ...args: readonly string[]): boolean {
  try {
    execFileSync(command, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
