/**
 * Owns that what waits idle is at the tip of the default branch after a push, before anybody asks for it.
 *
 * Invariants:
 * 1. One workspace of a repository at a time, and none while somebody waits, so that the pool never runs dry because of it.
 * 2. A workspace is moved by cleaning it, as after a lease. Whatever goes wrong, it is left to that, and the rest as it is.
 */
import type { Repository } from "../../domain/repository.js";
import type { HostOwnership } from "../../ports/host-store.js";
import type { WorkspacePool } from "../../ports/lease-store.js";
import type { RepositoryStore } from "../../ports/repository-store.js";
import type { Wake } from "../../ports/wake.js";
import type { WorkspaceStore } from "../../ports/workspace-store.js";
import type { Keeper } from "../cleaning/keeper.js";
import { workspaceChange } from "../workspace-change.js";
import type { Mirrors } from "./mirrors.js";

export interface WarmingDependencies {
  readonly work: Pick<WorkspaceStore, "moveIdle">;
  readonly pool: Pick<WorkspacePool, "get">;
  readonly repositories: Pick<RepositoryStore, "mirror">;
  readonly mirrors: Pick<Mirrors, "find">;
  readonly keeper: Keeper;
  readonly ownership: HostOwnership;
  readonly wake: Wake;
}

/** How long one of them may take; the rest is left then. */
const patienceMs = 120_000;

export class Warming {
  readonly #deps: WarmingDependencies;

  constructor(deps: WarmingDependencies) {
    this.#deps = deps;
  }

  /** Moves what the mirror's tip has left behind. */
  async warm(repository: Repository, signal: AbortSignal): Promise<void> {
    const { work, repositories, mirrors, keeper, wake } = this.#deps;
    for (let moved = 0; moved < repository.minIdle && !signal.aborted; moved++) {
      const mirror = await repositories.mirror(repository.id);
      if (mirror?.state !== "READY") return;
      // a push may have come since the last one
      const { commit } = await mirrors.find(repository, mirror, "");
      const workspaceId = commit === "" ? undefined : await work.moveIdle(repository.id, commit);
      if (workspaceId === undefined) return;
      keeper.expect("work");
      wake.hint();
      if ((await this.#settled(workspaceId, signal)) !== commit) return;
    }
  }

  /** The commit that it is at when it is not being worked on any more, or has been for too long. */
  async #settled(workspaceId: string, signal: AbortSignal): Promise<string> {
    const { pool, keeper, wake, ownership } = this.#deps;
    const end = performance.now() + patienceMs;
    while (!signal.aborted && ownership.owner && performance.now() < end) {
      const workspace = await pool.get(workspaceId);
      if (workspace?.state !== "CLEANING") return workspace?.commit ?? "";
      await workspaceChange({ wake, keeper }, workspaceId, signal);
    }
    return "";
  }
}
