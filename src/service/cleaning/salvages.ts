/**
 * Owns what callers and the host's owner do with salvages that were made: list, restore, discard, expire.
 *
 * Invariants:
 * 1. A runner sees and restores what its own leases left, and nothing else is there for it.
 * 2. A salvage is gone for every caller before its first byte is; the files go behind, and only while nobody restores it.
 * 3. Files of a salvage that refuse to go stand in no other one's way.
 */
import { limitedTo } from "../../domain/caller.js";
import { asFailure, Failure, wasBrokenOff } from "../../domain/failure.js";
import type { Salvage } from "../../domain/salvage.js";
import type { GitEngine } from "../../ports/git-engine.js";
import type { SalvageWish } from "../../ports/lease-store.js";
import type { Logger } from "../../ports/logger.js";
import type { SalvageStore } from "../../ports/salvage-store.js";
import type { Places } from "../places.js";
import type { CallContext, SalvageInput, SalvageList } from "../services.js";

export interface SalvagesDependencies {
  readonly store: SalvageStore;
  readonly git: GitEngine;
  readonly places: Places;
  readonly log: Logger;
}

const removalsAtOnce = 100;
/** A salvage whose files refuse to go is tried again after so long. */
const stuckMs = 60_000;

export class Salvages {
  readonly #deps: SalvagesDependencies;
  /** Until when nobody tries again to remove them. */
  readonly #stuck = new Map<string, number>();

  constructor(deps: SalvagesDependencies) {
    this.#deps = deps;
  }

  async list({ filter, after, pageSize }: SalvageInput, call: CallContext): Promise<SalvageList> {
    const caller = limitedTo(call.caller);
    const found = await this.#deps.store.list(
      caller === undefined ? filter : { ...filter, caller },
      after,
      pageSize + 1,
    );
    return {
      salvages: found.salvages.slice(0, pageSize),
      more: found.salvages.length > pageSize,
      revision: found.revision,
    };
  }

  async discard(salvageId: string): Promise<void> {
    if (!(await this.#deps.store.discard(salvageId))) throw salvageNotFound(salvageId);
  }

  /** The salvage that a caller may restore to a workspace of the repository. */
  async wished(wish: SalvageWish, repository: string): Promise<Salvage> {
    const salvage = await this.#deps.store.find(wish.salvageId);
    const isTheirs = wish.caller === undefined || salvage?.caller === wish.caller;
    if (!salvage || !isTheirs || salvage.repository !== repository) throw salvageNotFound(wish.salvageId);
    return salvage;
  }

  /** The id of what the newest lease of a workspace left, saved or not. */
  async expectedOf(workspaceId: string): Promise<string> {
    return (await this.#deps.store.workLeft(workspaceId)).salvageId;
  }

  /** Undefined if there is none. */
  found(salvageId: string): Promise<Salvage | undefined> {
    return this.#deps.store.find(salvageId);
  }

  /** Brings a salvage back to a prepared workspace of this host. */
  async restore(salvage: Salvage, path: string): Promise<void> {
    const { git, places, log } = this.#deps;
    const { salvageId, ref } = salvage;
    try {
      await git.restoreSalvage({ salvages: places.salvages({ name: salvage.repository }), ref, path });
    } catch (error) {
      const failure = asFailure(error);
      if (failure.reason === "SALVAGE_NOT_FOUND") throw salvageNotFound(salvageId);
      // the salvage is not at fault: the same call may well succeed later
      if (["HOST_IO", "DISK_LOW", "DRAINING"].includes(failure.reason)) throw failure;
      log.error({ err: failure.cause ?? failure, salvage: salvageId }, "a salvage could not be restored");
      throw new Failure("SALVAGE_FAILED", `salvage ${salvageId} could not be restored: ${failure.message}`, {
        metadata: { salvage: salvageId },
        cause: error,
      });
    }
  }

  /** Work of the host's owner: what has expired is told of, and the files of what is gone are removed. */
  async keepHouse(): Promise<void> {
    const { store, git, places, log } = this.#deps;
    await store.expire();
    const now = performance.now();
    for (const [id, againTime] of this.#stuck) if (againTime <= now) this.#stuck.delete(id);
    // those that cannot go now are passed over: as many more are asked for
    for (const { salvageId, repository, ref } of await store.removals(removalsAtOnce + this.#stuck.size)) {
      if (this.#stuck.has(salvageId)) continue;
      try {
        await git.discardSalvage(places.salvages({ name: repository }), ref);
        await store.removed(salvageId);
        log.info({ salvage: salvageId }, "salvage removed");
      } catch (error) {
        if (wasBrokenOff(asFailure(error))) throw error;
        this.#stuck.set(salvageId, performance.now() + stuckMs);
        log.warn({ err: error, salvage: salvageId, repository }, "the files of a salvage could not be removed");
      }
    }
  }
}

export function salvageNotFound(id: string): Failure {
  return new Failure("SALVAGE_NOT_FOUND", `there is no salvage ${id} that could be used here`, {
    metadata: { salvage: id },
  });
}
