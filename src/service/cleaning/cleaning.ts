/**
 * Owns making a workspace pristine, and the proof that it is: nothing gets idle, or to a holder, that was not compared
 * with a fresh clone since its last holder.
 *
 * Invariants:
 * 1. Processes that still use the directory are found before anything else, and once more when it has its new name, which
 *    none of them knows; where there is one, nothing of the directory is used again.
 * 2. What the proof finds is no reason to mend: the workspace is made once more from scratch, and if it still differs it
 *    is quarantined, with what was found as its problem.
 * 3. Whatever is destroyed goes through `Salvaging`.
 */
import type { Repository } from "../../domain/repository.js";
import { describeStragglers } from "../../domain/straggler.js";
import type { Verification } from "../../domain/verification.js";
import type { CheckoutTarget, GitEngine, PrepareWorkspaceRequest } from "../../ports/git-engine.js";
import type { Logger } from "../../ports/logger.js";
import type { Work, WorkspaceStore } from "../../ports/workspace-store.js";
import type { Mirrors } from "../mirrors/mirrors.js";
import type { Places } from "../places.js";
import type { Dependencies } from "./dependencies.js";
import type { Destroyed, Salvaging } from "./salvaging.js";
import type { Submodules } from "./submodules.js";

export interface CleaningDependencies {
  readonly work: WorkspaceStore;
  readonly git: GitEngine;
  readonly salvaging: Salvaging;
  readonly mirrors: Mirrors;
  readonly dependencies: Dependencies;
  readonly places: Places;
  readonly submodules: Submodules;
  readonly log: Logger;
}

export class Cleaning {
  readonly #deps: CleaningDependencies;

  constructor(deps: CleaningDependencies) {
    this.#deps = deps;
  }

  /** Salvages, cleans and verifies what a holder, or a crash, left. */
  async clean(work: Work, repository: Repository, target: CheckoutTarget): Promise<Destroyed> {
    const { salvaging, log } = this.#deps;
    const isInUse = await this.#reportStragglers(work, repository, work.candidates);
    // without its commit nothing of what is there is believed
    const keep = () => this.#deps.dependencies.keep(work, repository, isInUse);
    const cleaned = await salvaging.clean(work, repository, target, isInUse || work.from === "", keep);
    if (cleaned.kind !== "done") return cleaned;
    // who came by its old path until it was renamed has by now opened what it wanted, and comes no more
    const cameLate = !isInUse && work.guardWork && (await this.#reportStragglers(work, repository, [work.path]));
    if (cameLate) await salvaging.remake(work, repository, target);
    const first = await this.#verify(work, repository, target, false);
    if (first.kind === "pristine") return cleaned;
    const workspace = work.key.workspaceId;
    await this.#repair(repository, first);
    log.warn({ workspace, findings: first.findings }, "a cleaned workspace differs from a fresh clone: made anew");
    const remade = await salvaging.remake(work, repository, target);
    if (remade.kind !== "done") return remade;
    const second = await this.#verify(work, repository, target, false);
    if (second.kind === "pristine") return cleaned;
    return { kind: "quarantined", path: work.path, problem: differsFromFreshClone(second.findings) };
  }

  /** Makes a workspace where none is, and verifies it. Fails where it differs. */
  async make(request: PrepareWorkspaceRequest, repository: Repository): Promise<void> {
    const { git } = this.#deps;
    await git.prepareWorkspace(request);
    const verification = await git.verifyWorkspace({ ...request, deep: false });
    await this.#repair(repository, verification);
    if (verification.kind === "differs") throw new Error(differsFromFreshClone(verification.findings));
  }

  /** Looks at an idle workspace, trusting no file's time. */
  async examine(work: Work, repository: Repository): Promise<Verification> {
    const target = await this.#deps.submodules.target(repository, { commit: work.from, head: work.head });
    const verification = await this.#verify(work, repository, target, true);
    await this.#repair(repository, verification);
    return verification;
  }

  /** Before anything else is made of it. */
  async #repair(repository: Repository, verification: Verification): Promise<void> {
    if (verification.kind === "differs" && verification.mirrorDamaged) await this.#deps.mirrors.repair(repository);
  }

  /** Before a directory is given up for good. */
  async beforeRemoval(work: Work, repository: Repository): Promise<void> {
    if (work.guardWork) await this.#reportStragglers(work, repository, work.candidates);
  }

  async #reportStragglers(work: Work, repository: Repository, places: readonly string[]): Promise<boolean> {
    const stragglers = await this.#deps.git.findStragglers({
      places,
      kill: repository.killStragglers,
      // without a lease there was no holder
      sinceMs: work.leaseTimeMs ?? Number.POSITIVE_INFINITY,
    });
    if (stragglers.length === 0) return false;
    const detail = describeStragglers(stragglers);
    this.#deps.log.warn({ workspace: work.key.workspaceId, stragglers: detail }, "processes still use a workspace");
    await this.#deps.work.reportStragglers(work.key, detail);
    return true;
  }

  #verify(work: Work, repository: Repository, target: CheckoutTarget, deep: boolean): Promise<Verification> {
    const { git, places } = this.#deps;
    return git.verifyWorkspace({
      mirror: places.mirror(repository),
      path: work.path,
      trustedIndex: places.trustedIndex(work.key.workspaceId),
      origin: repository.url,
      objectStorage: repository.objectStorage,
      target,
      deep,
    });
  }
}

function differsFromFreshClone(findings: readonly string[]): string {
  return `it differs from a fresh clone: ${findings.join("; ")}`;
}
