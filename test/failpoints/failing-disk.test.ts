/**
 * The disk of the data directory is really full, or really read-only, while leases begin and end: errors say so, nothing
 * is lost, and once there is room again everything goes on without a restart.
 */
import { spawnSync } from "node:child_process";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type Lane, Stage, traces } from "../hostile/stage.js";
import { belongingsOf, lost } from "../property/belongings.js";
import { persist } from "../support/holders.js";
import { type Held, readRefusal } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { canMount, SmallDisk } from "../support/small-disk.js";
import { until } from "../support/until.js";
import { diskFaults, work } from "./recovery.js";

describe.skipIf(!canMount())("a disk", () => {
  const servers = useServers();
  let stage: Stage;
  let disk: SmallDisk;
  let lane: Lane;
  let held: Held;

  servers.atEnd(async () => {
    await stage?.server.kill9();
    await disk?.unmount();
  });
  beforeAll(async () => {
    const root = await servers.directory();
    disk = new SmallDisk(join(root, "disk"), "48m");
    const databaseUrl = await servers.database();
    stage = await Stage.open(servers, 1, { root, databaseUrl, dataDir: join(disk.path, "data") });
  }, 180_000);
  afterAll(() => stage?.close());

  beforeEach(async () => {
    await stage.withLane(async (one) => {
      lane = one;
      held = lane.held ?? (await stage.acquire(lane));
    });
  });

  const faults = [
    ["full", () => disk.fill(), () => disk.empty()],
    ["read-only", () => remount("ro"), () => remount("rw")],
  ] as const;

  /** Idle workers keep files of earlier workspaces open that are gone, which stands against it: they are replaced. */
  async function remount(how: "ro" | "rw"): Promise<void> {
    await until(`the disk is ${how}`, () => {
      try {
        disk.remount(how);
        return true;
      } catch {
        spawnSync("pkill", ["-KILL", "--parent", String(stage.server.pid), "--full", "git/worker/main.js"]);
        return false;
      }
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
      const second = await persist(
        "a workspace is made",
        () => client.acquire({ ...request, waitMs: 20_000 }),
        diskFaults,
      );
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
