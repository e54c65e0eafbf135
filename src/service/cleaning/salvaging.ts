/**
 * Owns the one door through which anything of a workspace is destroyed. Nothing else in the service cleans or discards
 * (a test sees to it).
 *
 * Invariants:
 * 1. What a holder left is salvaged, and the salvage is stored, before the first file is touched.
 * 2. Work that cannot be saved whole stays where it is: the workspace is quarantined. Only `abandon_work` of Reset, which
 *    takes `guardWork` from the row, is a way around.
 * 3. The store confirms the claim between saving and destroying: whoever lost it destroys nothing.
 */
import { asFailure, wasBrokenOff } from "../../domain/failure.js";
import type { Repository } from "../../domain/repository.js";
import { salvageRef } from "../../domain/salvage.js";
import type {
  CheckoutTarget,
  CleanOutcome,
  GitEngine,
  SalvageOutcome,
  SalvageRequest,
} from "../../ports/git-engine.js";
import type { Logger } from "../../ports/logger.js";
import type { SalvageStore } from "../../ports/salvage-store.js";
import type { Work } from "../../ports/workspace-store.js";
import type { Reserve } from "../disk/reserve.js";
import type { Mirrors } from "../mirrors/mirrors.js";
import type { Places } from "../places.js";

export interface SalvagingDependencies {
  readonly salvages: SalvageStore;
  readonly git: GitEngine;
  readonly mirrors: Mirrors;
  readonly places: Places;
  readonly reserve: Reserve;
  readonly log: Logger;
}

/** `quarantined`: nothing was destroyed, the files are at `path`. `lost`: nor was anything, and the work is another's now. */
export type Destroyed =
  | { readonly kind: "done" }
  | { readonly kind: "quarantined"; readonly path: string; readonly problem: string }
  | { readonly kind: "lost" };

/** More than that is not saved but quarantined. In bytes. */
const limits = { fileBytes: 100 * 1024 ** 2, totalBytes: 1024 ** 3 };
/** A salvage that fails for other reasons than the work itself is tried again so often. */
const mostFailures = 1;

export class Salvaging {
  readonly #deps: SalvagingDependencies;

  constructor(deps: SalvagingDependencies) {
    this.#deps = deps;
  }

  /**
   * Makes a workspace indistinguishable from a fresh clone at the target; `fromScratch`: using nothing of what is there.
   * `before`: what is to be moved out of it, done when its work is safe.
   */
  async clean(
    work: Work,
    repository: Repository,
    target: CheckoutTarget,
    fromScratch: boolean,
    before?: () => Promise<void>,
  ): Promise<Destroyed> {
    const kept = await this.#salvage(work, repository);
    if (kept) return kept;
    await before?.();
    return this.#clean(work, repository, target, fromScratch);
  }

  /** Makes a workspace anew that `clean` has made and that nobody has had since. */
  remake(work: Work, repository: Repository, target: CheckoutTarget): Promise<Destroyed> {
    return this.#clean(work, repository, target, true);
  }

  async #clean(work: Work, repository: Repository, target: CheckoutTarget, fromScratch: boolean): Promise<Destroyed> {
    const { git, places } = this.#deps;
    const outcome = await git.cleanWorkspace({
      mirror: places.mirror(repository),
      path: work.path,
      candidates: work.candidates,
      trash: places.trash,
      trustedIndex: places.trustedIndex(work.key.workspaceId),
      from: work.from,
      origin: repository.url,
      objectStorage: repository.objectStorage,
      target,
      comparedBefore: work.guardWork,
      fromScratch,
    });
    return afterwards(outcome);
  }

  /** Removes a workspace's directory. */
  async remove(work: Work, repository: Repository): Promise<Destroyed> {
    const kept = await this.#salvage(work, repository);
    if (kept) return kept;
    const { places } = this.#deps;
    return this.#discard(work.candidates, places.trash, places.trustedIndex(work.key.workspaceId));
  }

  /**
   * Removes a directory that no row names as its workspace's any more: whatever was in it has come through here before.
   * Where it has not, because the host was removed with it, the store names no leftover.
   */
  async removeLeftover(path: string): Promise<void> {
    await this.#discard([path], this.#deps.places.trash);
  }

  /** Puts a mirror into the trash: what is in it came from the upstream. */
  async removeMirror(repository: Pick<Repository, "name">): Promise<void> {
    const { places } = this.#deps;
    await this.#discard([places.mirror(repository)], places.mirrorTrash);
  }

  /** Undefined if nothing stands against destroying it. */
  async #salvage(work: Work, repository: Repository): Promise<Exclude<Destroyed, { kind: "done" }> | undefined> {
    if (!work.guardWork) return undefined;
    const { salvages, git, places, log } = this.#deps;
    const { workspaceId } = work.key;
    const { salvageId, leaseId, holder, caller, reason = "FAILED" } = await salvages.workLeft(workspaceId);
    const request = {
      mirror: places.mirror(repository),
      candidates: work.candidates,
      from: work.from,
      trustedIndex: places.trustedIndex(workspaceId),
      salvages: places.salvages(repository),
      salvageIgnored: repository.salvageIgnored,
      report: { salvageId, repository: repository.name, workspaceId, leaseId, holder, caller, reason },
      limits,
    };
    let outcome: SalvageOutcome;
    try {
      outcome = await this.#save(request, repository);
    } catch (error) {
      const failure = asFailure(error);
      // what the disk has no room for now it will have room for later
      if (failure.reason === "DISK_LOW" || wasBrokenOff(failure) || work.failures < mostFailures) throw failure;
      log.warn({ err: failure.cause ?? failure, workspace: workspaceId }, "work could not be salvaged");
      return quarantined(await this.#whereFilesAre(work), failure.message);
    }
    if (outcome.kind === "refused") return quarantined(outcome.path, outcome.detail);
    if (outcome.kind === "saved") {
      const { kind: _, ...saved } = outcome;
      log.info(
        { workspace: workspaceId, salvage: salvageId, files: saved.files, commits: saved.commits },
        "work saved",
      );
      const settled = await salvages.settle(work.key, { repositoryPath: request.salvages, ...saved });
      return settled ? undefined : { kind: "lost" };
    }
    // what an attempt before this one has saved, and what the mirror has since, is not known to the store
    if (work.attempt > 1) await git.discardSalvage(request.salvages, salvageRef(salvageId));
    return (await salvages.settle(work.key, undefined)) ? undefined : { kind: "lost" };
  }

  /** Saves, and where commits seem to exist nowhere else, asks the upstream whether they were pushed, and looks again. */
  async #save(request: SalvageRequest, repository: Repository): Promise<SalvageOutcome> {
    const { git, mirrors, reserve } = this.#deps;
    const first = await reserve.lend(() => git.salvageWork(request));
    if (first.kind !== "saved" || first.commits === 0) return first;
    const isFresh = await mirrors.fetch(repository).then(
      () => true,
      () => false, // in doubt they were not pushed
    );
    if (!isFresh) return first;
    const second = await reserve.lend(() => git.salvageWork(request));
    if (second.kind === "none") await git.discardSalvage(request.salvages, first.ref);
    return second;
  }

  /** Empty if it cannot be told. */
  async #whereFilesAre({ candidates }: Work): Promise<string> {
    for (const path of candidates) if (await this.#deps.git.workspaceExists(path)) return path;
    return "";
  }

  async #discard(candidates: readonly string[], trash: string, trustedIndex = ""): Promise<Destroyed> {
    return afterwards(await this.#deps.git.discardWorkspace({ candidates, trash, trustedIndex }));
  }
}

/** What refuses to go would do so again: nobody tries before an operator has looked at it. */
function afterwards(outcome: CleanOutcome): Destroyed {
  if (outcome.kind === "clean") return { kind: "done" };
  return { kind: "quarantined", path: outcome.path, problem: `cannot be cleaned: ${outcome.detail}` };
}

function quarantined(path: string, detail: string): Destroyed & { readonly kind: "quarantined" } {
  return { kind: "quarantined", path, problem: `holds work that could not be salvaged: ${detail}` };
}
