/**
 * Owns what the owner of a host does about directories that no row wants.
 *
 * Invariants:
 * 1. What does not bear a mark of this service, or has not the form of something of ours, is told of and left alone.
 * 2. A workspace's directory goes through the one door that salvages: one without a row gets its row again first.
 * 3. What fails on one directory is told and stops nothing else.
 */
import { relative } from "node:path";
import type { SweepEntry } from "../../domain/sweep.js";
import type { GitEngine } from "../../ports/git-engine.js";
import type { DirectorySurvey } from "../../ports/host-directories.js";
import type { Logger } from "../../ports/logger.js";
import type { RepositoryStore } from "../../ports/repository-store.js";
import type { SweepStore } from "../../ports/sweep-store.js";
import type { WorkspaceStore } from "../../ports/workspace-store.js";
import type { Keeper } from "../cleaning/keeper.js";
import type { Salvaging } from "../cleaning/salvaging.js";
import type { Places } from "../places.js";

export interface TidyingDependencies {
  readonly store: SweepStore;
  readonly work: WorkspaceStore;
  readonly repositories: RepositoryStore;
  readonly git: GitEngine;
  readonly salvaging: Salvaging;
  readonly keeper: Keeper;
  readonly places: Places;
  readonly log: Logger;
}

type Found = Pick<SweepEntry, "kind" | "outcome"> & Partial<SweepEntry>;
type Workspace = DirectorySurvey["workspaces"][number];

export class Tidying {
  readonly #deps: TidyingDependencies;

  constructor(deps: TidyingDependencies) {
    this.#deps = deps;
  }

  /** `told` gets what was done, or in a dry run would be. */
  async tidy(dryRun: boolean, told: (found: Found) => void): Promise<void> {
    const { git, places, work, keeper } = this.#deps;
    const survey = await git.survey(places.workspaceRoot, places.mirrorRoot, places.indexes);
    const gone = new Set(await work.leftovers(survey.workspaces.map(({ path }) => path)));
    for (const workspace of survey.workspaces) {
      await this.#attempt("DIRECTORY", workspace.path, told, () =>
        gone.has(workspace.path) ? this.#removeLeftover(workspace, dryRun) : this.#adopt(workspace, dryRun),
      );
    }
    for (const mirror of survey.mirrors) {
      await this.#attempt("MIRROR", mirror.path, told, () => this.#mirror(mirror, dryRun));
    }
    for (const path of survey.others) told(this.#foreign(path));
    if (dryRun) return;
    await git.clearStaging(places.staging);
    keeper.trashIsDue();
    keeper.expect("work");
  }

  async #removeLeftover({ path, workspaceId, repository }: Workspace, dryRun: boolean): Promise<Found> {
    if (!dryRun) await this.#deps.salvaging.removeLeftover(path);
    return {
      kind: "DIRECTORY",
      outcome: "DROPPED",
      reason: "NO_ROW",
      workspaceId,
      repository,
      detail: this.#shown(path),
    };
  }

  async #adopt(
    { path, workspaceId, repository, fence, marked }: Workspace,
    dryRun: boolean,
  ): Promise<Found | undefined> {
    const key = { workspaceId, fence };
    const outcome = await this.#deps.store.adopt({ path, repository, key, marked: marked && !dryRun });
    if (outcome === "known") return undefined;
    if (outcome === "foreign" && !(dryRun && marked)) return this.#foreign(path);
    return {
      kind: "DIRECTORY",
      outcome: "DROPPED",
      reason: "NO_ROW",
      workspaceId,
      repository,
      detail: this.#shown(path),
    };
  }

  async #mirror(mirror: DirectorySurvey["mirrors"][number], dryRun: boolean): Promise<Found | undefined> {
    const { repositories, salvaging } = this.#deps;
    const { name, path, marked } = mirror;
    if (await repositories.byName(name)) return undefined;
    if (!marked) return this.#foreign(path);
    if (!dryRun) await salvaging.removeMirror({ name });
    return { kind: "MIRROR", outcome: "DROPPED", reason: "NO_ROW", repository: name, detail: this.#shown(path) };
  }

  async #attempt(
    kind: "DIRECTORY" | "MIRROR",
    path: string,
    told: (found: Found) => void,
    action: () => Promise<Found | undefined>,
  ): Promise<void> {
    try {
      const found = await action();
      if (found) told(found);
    } catch (error) {
      this.#deps.log.warn({ err: error, directory: path }, "a directory could not be swept");
      told({ kind, outcome: "FAILED", detail: this.#shown(path) });
    }
  }

  #foreign(path: string): Found {
    this.#deps.log.warn({ directory: path }, "this is no directory of ours; it is left alone");
    return { kind: "DIRECTORY", outcome: "FOREIGN", detail: this.#shown(path) };
  }

  /** No path outside of our roots reaches a caller. */
  #shown(path: string): string {
    const { workspaceRoot, mirrorRoot } = this.#deps.places;
    return path.startsWith(`${workspaceRoot}/`) ? relative(workspaceRoot, path) : relative(mirrorRoot, path);
  }
}
