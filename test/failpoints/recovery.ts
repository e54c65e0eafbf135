/** Owns: what must hold after a kill or a failing disk at a named point, once the server has done what was due. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { Salvage } from "../../gen/leasehold/v1/salvage_pb.js";
import { type Workspace, WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type Lane, type Stage, traces } from "../hostile/stage.js";
import { type Belongings, belongingsOf, lost } from "../property/belongings.js";
import { persist } from "../support/holders.js";
import { expectSoundStore, settled } from "../support/invariants.js";
import type { Held } from "../support/rpc-client.js";
import { until } from "../support/until.js";
import type { Action, Failpoints } from "./failpoints.js";

/** Work of each kind that salvage knows. */
export const work = `
echo "$TAG 1" > committed.txt; git add committed.txt; git commit -qm "not pushed"
echo "$TAG 2" >> a.txt; git stash push -q; git checkout -q -b mine; git commit -q --allow-empty -m mine
echo "$TAG 3" > staged.txt; git add staged.txt; echo "$TAG 4" >> src/main.txt; rm b.txt; ln -s nowhere new-link
mkdir -p deep/er; echo "$TAG 5" > deep/er/file; echo x > x.log; git init -q nested; echo "$TAG 6" > nested/n
`;

/** A worker's death, or its disk's, is an error of its call, which may be made again. */
export const diskFaults = ["HOST_IO", "DISK_LOW"] as const;

export class Trial {
  readonly stage: Stage;
  readonly points: Failpoints;
  hits = 0;
  misses = 0;
  #tags = 0;

  constructor(stage: Stage, points: Failpoints) {
    this.stage = stage;
    this.points = points;
  }

  /** Every lane has had a salvage, so that what is done once is no point. */
  async warmUp(lanes: number): Promise<void> {
    const once = Array.from({ length: lanes }, () => this.stage.withLane((lane) => this.#salvaged(lane)));
    await Promise.all(once);
  }

  /** Every point that is passed from a lease's end to the clean workspace. */
  async pointsOfCleaning(): Promise<readonly string[]> {
    const found = await this.stage.withLane(async (lane) => {
      const { held } = await this.#worked(lane);
      lane.held = undefined;
      return this.points.trace(lane.name, async () => {
        await this.stage.client.release(held, { waitForClean: true });
      });
    });
    return found.filter((point) => /^(findStragglers|salvageWork|cleanWorkspace|verifyWorkspace) /.test(point));
  }

  /** Every point that restoring a salvage passes. */
  async pointsOfRestoring(): Promise<readonly string[]> {
    const found = await this.stage.withLane(async (lane) => {
      const salvage = await this.#salvaged(lane);
      const passed = await this.points.trace(lane.name, async () => {
        lane.held = await this.#restore(lane, salvage, "traced", "full");
      });
      await this.stage.release(lane);
      return passed;
    });
    return found.filter((point) => /^(prepareWorkspace|restoreSalvage) /.test(point));
  }

  /** A holder's lease ends, it happens at the point, and everything holds afterwards. */
  async clean(point: string, action: Action): Promise<void> {
    const { stage, points } = this;
    await stage.withLane(async (lane) => {
      const { held, had } = await this.#worked(lane);
      await points.arm(lane.name, point, action);
      lane.held = undefined;
      await stage.client.release(held);
      const settled = async () => (await this.#settled(held)) !== undefined;
      await this.#passed(lane, point, settled, action);
      await this.#expectLaws(lane, held, had);
    });
  }

  /** Somebody restores a salvage, it happens at the point, and the same request gets everything back afterwards. */
  async restore(point: string, action: Action): Promise<void> {
    const { stage, points } = this;
    await stage.withLane(async (lane) => {
      const salvage = await this.#salvaged(lane);
      await points.arm(lane.name, point, action);
      const answer = this.#restore(lane, salvage, point, action);
      let isAnswered = false;
      const answered = () => {
        isAnswered = true;
      };
      answer.then(answered, answered);
      await this.#passed(lane, point, async () => isAnswered, action);
      lane.held = await answer;
      const { repositoryPath, ref } = salvage;
      const back = await belongingsOf(lane.held.path);
      expect(back.files.size, "files that came back").toBeGreaterThan(5);
      expect(await lost(back, { upstream: lane.url, salvage: { repository: repositoryPath, ref } })).toEqual([]);
      const held = lane.held;
      lane.held = undefined;
      await stage.client.release(held);
      await this.#expectLaws(lane, held, back);
    });
  }

  /** Of the points that were armed, nearly all were passed. */
  expectHits(): void {
    process.stdout.write(`failpoints: ${this.hits} passed, ${this.misses} not\n`);
    expect(this.hits).toBeGreaterThan(this.misses * 3);
  }

  /** Neither a directory without a row, nor a row without its directory, nor anything half done. */
  async expectSoundDisk(): Promise<void> {
    const { sql, server } = this.stage;
    await settled(sql, server.dataDir, 60_000);
    await expectSoundStore(sql);
    const rows = await sql<{ path: string }[]>`select path from workspaces where state <> 'RETIRED'`;
    const root = join(server.dataDir, "workspaces");
    const found: string[] = [];
    for (const name of await readdir(root)) {
      for (const one of await readdir(join(root, name))) if (one !== ".canary") found.push(join(root, name, one));
    }
    expect(found.sort()).toEqual(rows.map(({ path }) => path).sort());
    const salvages = await readdir(join(server.dataDir, "salvages"));
    expect(salvages.filter((name) => !name.endsWith(".git"))).toEqual([]);
  }

  /** Nothing is lost, nothing is left, and the next lease is a fresh clone. */
  async #expectLaws(lane: Lane, held: Held, had: Belongings): Promise<void> {
    const { client } = this.stage;
    const clean = await until("the workspace is clean", () => this.#settled(held), 120_000);
    expect([WorkspaceState[clean.state], clean.problem]).toEqual(["IDLE", ""]);
    const { salvages } = await client.admin.listSalvages({ leaseId: held.leaseId });
    expect(salvages).toHaveLength(1);
    const [salvage] = salvages as [Salvage];
    const kept = { repository: salvage.repositoryPath, ref: salvage.ref };
    expect(await lost(had, { upstream: lane.url, salvage: kept }), "lost").toEqual([]);
    const next = await this.stage.acquire(lane);
    expect(await traces(next.path, lane.fresh), "traces").toEqual([]);
    expect(await this.stage.damage(), "damage").toEqual([]);
  }

  /** Its workspace, once it is clean or given up. */
  async #settled({ workspaceId }: Held): Promise<Workspace | undefined> {
    const workspace = await this.stage.client.get(workspaceId).catch(() => undefined);
    const over = [WorkspaceState.IDLE, WorkspaceState.QUARANTINED];
    return workspace && over.includes(workspace.state) ? workspace : undefined;
  }

  /** What was armed has happened; or the work went by another way, which is counted. */
  async #passed({ name }: Lane, point: string, isOver: () => Promise<boolean>, action: Action): Promise<void> {
    const isHit = await this.points.hit(name, point, isOver);
    if (isHit) this.hits += 1;
    else {
      this.misses += 1;
      await this.points.disarm(name);
    }
    if (isHit && action === "kill-server") await this.#restart();
  }

  async #worked(lane: Lane): Promise<{ held: Held; had: Belongings }> {
    const held = lane.held ?? (await this.stage.acquire(lane));
    await this.stage.play(`TAG="trial ${++this.#tags} ${process.pid}"; ${work}`, lane);
    return { held, had: await belongingsOf(held.path) };
  }

  async #salvaged(lane: Lane): Promise<Salvage> {
    const { held } = await this.#worked(lane);
    await this.stage.release(lane);
    const { salvages } = await this.stage.client.admin.listSalvages({ leaseId: held.leaseId });
    return salvages[0] as Salvage;
  }

  /** As one who gave a request id does, until it is answered. A disk's fault is told as such, not as the salvage's. */
  #restore({ name }: Lane, { salvageId }: Salvage, why: string, action: Action): Promise<Held> {
    const requestId = `restore ${salvageId} ${why}`.slice(0, 100);
    const request = { repository: name, restoreSalvageId: salvageId, requestId, ttlMs: 600_000, waitMs: 30_000 };
    const also = action.startsWith("kill") ? ["INTERNAL", "SALVAGE_FAILED"] : diskFaults;
    return persist("the salvage is restored", () => this.stage.client.acquire(request, undefined, 60_000), also);
  }

  async #restart(): Promise<void> {
    await this.stage.server.finished;
    await this.stage.server.start();
  }
}
