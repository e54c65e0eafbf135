/**
 * Owns the file work of the owned host: making, cleaning, removing workspaces, ahead of and behind the calls.
 *
 * Invariants:
 * 1. Work is done only under a claim (a fence of its own), and its result is thrown away if the claim was lost.
 * 2. What is to be removed is first renamed into the trash; the trash is emptied behind, one sweep at a time. A repository's
 *    mirror is there before its row goes: until then nobody can register its name again.
 * 3. At the start of ownership, whatever a crash left is taken up again, and directories that no row wants go to the trash.
 */
import { asFailure, wasBrokenOff } from "../../domain/failure.js";
import type { LeaseKey } from "../../domain/lease.js";
import type { Repository } from "../../domain/repository.js";
import type { CheckoutTarget, GitEngine, Resolved } from "../../ports/git-engine.js";
import type { HostOwnership } from "../../ports/host-store.js";
import type { Logger } from "../../ports/logger.js";
import type { RepositoryStore } from "../../ports/repository-store.js";
import type { Wake } from "../../ports/wake.js";
import type { Work, WorkResult, WorkspaceStore } from "../../ports/workspace-store.js";
import type { Disk } from "../disk/disk.js";
import type { Granting } from "../leases/granting.js";
import type { Mirrors } from "../mirrors/mirrors.js";
import type { Places } from "../places.js";
import type { Cleaning } from "./cleaning.js";
import type { Dependencies } from "./dependencies.js";
import type { Destroyed, Salvaging } from "./salvaging.js";
import type { Submodules } from "./submodules.js";

export interface KeeperDependencies {
  readonly work: WorkspaceStore;
  readonly repositories: RepositoryStore;
  readonly mirrors: Mirrors;
  readonly submodules: Submodules;
  readonly granting: Granting;
  readonly git: GitEngine;
  readonly cleaning: Cleaning;
  readonly salvaging: Salvaging;
  readonly dependencies: Dependencies;
  readonly disk: Disk;
  readonly places: Places;
  readonly ownership: HostOwnership;
  readonly wake: Wake;
  readonly log: Logger;
}

/** `work`: cleaning and removing; `idle`: making workspaces ahead; `mirrors`: making mirrors. */
export type Due = "work" | "idle" | "mirrors";

const atOnce = 4;

export class Keeper {
  readonly #deps: KeeperDependencies;
  readonly #doing = new Map<string, { key: LeaseKey; task: Promise<void> }>();
  readonly #mirroring = new Map<number, Promise<unknown>>();
  readonly #finished = new Set<(workspaceId: string) => void>();
  #looking: Promise<void> | undefined;
  #again = false;
  readonly #due = new Set<Due>(["work", "idle", "mirrors"]);
  #emptying: Promise<void> | undefined;
  #trashed = true;
  #emptyingMirrors: Promise<void> | undefined;
  #mirrorsTrashed = true;

  constructor(deps: KeeperDependencies) {
    this.#deps = deps;
  }

  /** The next look is for this. Whoever brings it about says so, and time does, so that nothing is asked for in vain. */
  expect(...due: readonly Due[]): void {
    for (const one of due) this.#due.add(one);
  }

  /** Takes up what is due. One look at a time; a call during one makes it look once more. */
  look(): Promise<void> {
    if (this.#deps.granting.tookAhead()) this.expect("idle");
    if (this.#looking) {
      this.#again = true;
      return this.#looking;
    }
    this.#looking = this.#lookUntilDone().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** Calls back when work on a workspace has ended here, however. Answers how to stop that. */
  onFinished(listener: (workspaceId: string) => void): () => void {
    this.#finished.add(listener);
    return () => this.#finished.delete(listener);
  }

  /** Resolves when nothing is being done. */
  async settled(): Promise<void> {
    await this.#looking?.catch(() => {});
    await Promise.all([...this.#doing.values()].map((doing) => doing.task));
    await Promise.allSettled(this.#mirroring.values());
    await Promise.all([this.#emptying, this.#emptyingMirrors]);
  }

  async #lookUntilDone(): Promise<void> {
    do {
      this.#again = false;
      if (!this.#deps.ownership.owner) return;
      if (this.#isFree && this.#due.delete("work")) await this.#claimWork();
      if (this.#isFree && this.#due.delete("idle")) await this.#claimMissingIdle();
      if (this.#due.delete("mirrors")) await this.#mirrorAhead();
      this.#emptyTrash();
    } while (this.#again);
  }

  get #isFree(): boolean {
    return this.#doing.size < atOnce;
  }

  async #claimWork(): Promise<void> {
    const { work, places, granting } = this.#deps;
    const limit = atOnce - this.#doing.size;
    const known = [...granting.preparing, ...[...this.#doing.values()].map((doing) => doing.key)];
    const claimed = await work.claimWork(known, places.workspaceRoot, limit);
    for (const due of claimed) this.#start(due);
    // there may be more for those that are free next
    if (claimed.length === limit) this.expect("work");
  }

  async #claimMissingIdle(): Promise<void> {
    const { work, places, disk } = this.#deps;
    // what is made ahead would be the next to go
    if (disk.low) return;
    const limit = atOnce - this.#doing.size;
    const claimed = await work.claimMissingIdle(places.workspaceRoot, limit);
    for (const due of claimed) this.#start(due);
    if (claimed.length === limit) this.expect("idle");
  }

  #start(due: Work): void {
    const name = due.key.workspaceId;
    const letGo = due.kind === "make" ? this.#deps.disk.count(due.repositoryId) : undefined;
    const task = this.#do(due)
      .catch((error) => this.#deps.log.error({ err: error, workspace: name }, "file work could not be stored"))
      .finally(() => {
        letGo?.();
        this.#doing.delete(name);
        for (const listener of this.#finished) listener(name);
        this.#deps.wake.hint();
      });
    this.#doing.set(name, { key: due.key, task });
  }

  async #do(due: Work): Promise<void> {
    const { work, log } = this.#deps;
    const start = performance.now();
    let result: WorkResult | undefined;
    try {
      result = await this.#result(due);
    } catch (error) {
      const failure = asFailure(error);
      log.warn(
        { err: failure.cause ?? failure, workspace: due.key.workspaceId, attempt: due.attempt },
        `could not ${due.kind} a workspace`,
      );
      const lacksRoom = failure.reason === "DISK_LOW";
      // without a result the claim is as one of a server that was killed: whoever owns the host next takes it up at once
      if (!wasBrokenOff(failure)) {
        result = { kind: "failed", problem: `could not ${due.kind}: ${failure.message}`, lacksRoom };
      }
    }
    this.#trashed = true;
    const stored = result !== undefined && (await work.finishWork(due.key, result));
    const ms = Math.round(performance.now() - start);
    log.info(
      { workspace: due.key.workspaceId, work: due.kind, result: result?.kind ?? "lost", stored, ms },
      "file work done",
    );
  }

  /** Undefined: the claim was lost. */
  async #result(due: Work): Promise<WorkResult | undefined> {
    const { repositories, cleaning, salvaging, places, mirrors } = this.#deps;
    const repository = await repositories.byId(due.repositoryId);
    if (!repository) throw new Error(`workspace ${due.key.workspaceId} is of no repository`);
    if (due.kind === "remove") {
      await cleaning.beforeRemoval(due, repository);
      return after(await salvaging.remove(due, repository), { kind: "retired" });
    }
    if (due.kind === "verify") return { kind: "verified", verification: await cleaning.examine(due, repository) };
    const mirrorPath = places.mirror(repository);
    const mirror = await mirrors.whole(repository);
    const resolved = await mirrors.find(repository, mirror, "");
    const target = await this.#target(due, repository, resolved);
    const { commit, head } = target;
    const idle = { kind: "idle", commit, head, refsVersion: mirror.refsVersion } as const;
    if (due.kind === "clean") return after(await cleaning.clean(due, repository, target), idle);
    const trustedIndex = places.trustedIndex(due.key.workspaceId);
    const { url: origin, objectStorage } = repository;
    await cleaning.make(
      { mirror: mirrorPath, path: due.path, trustedIndex, origin, objectStorage, target },
      repository,
    );
    return idle;
  }

  /** The tip, or where that cannot be had whole, the commit that the workspace was at. */
  async #target(due: Work, repository: Repository, resolved: Resolved): Promise<CheckoutTarget> {
    const { submodules } = this.#deps;
    try {
      return await submodules.target(repository, resolved);
    } catch (error) {
      if (due.kind !== "clean" || due.from === "" || due.from === resolved.commit) throw error;
      return submodules.target(repository, { commit: due.from, head: "" });
    }
  }

  /** Makes mirrors that are not there yet, or whose pause after a failure is over. */
  async #mirrorAhead(): Promise<void> {
    const { repositories, mirrors, wake } = this.#deps;
    for (const repository of await repositories.dueMirrors(4)) {
      if (this.#mirroring.has(repository.id)) continue;
      const task = mirrors
        .fetch(repository)
        .catch(() => {}) // stored as the repository's problem
        .finally(() => {
          this.#mirroring.delete(repository.id);
          this.expect("idle");
          wake.hint();
        });
      this.#mirroring.set(repository.id, task);
    }
  }

  #emptyTrash(): void {
    const { places } = this.#deps;
    if (this.#trashed && !this.#emptying) {
      this.#trashed = false;
      this.#emptying = this.#empty(places.trash).finally(() => {
        this.#emptying = undefined;
      });
    }
    if (this.#mirrorsTrashed && !this.#emptyingMirrors) {
      this.#mirrorsTrashed = false;
      this.#emptyingMirrors = this.#empty(places.mirrorTrash).finally(() => {
        this.#emptyingMirrors = undefined;
      });
    }
  }

  async #empty(trash: string): Promise<void> {
    const { git, log } = this.#deps;
    await git.emptyTrash(trash).catch((error) => log.warn({ err: error }, "the trash could not be emptied"));
  }

  /** Something was put into the trash, that of the mirrors or the other one. */
  trashIsDue(): void {
    this.#trashed = true;
    this.#mirrorsTrashed = true;
  }

  /** Empties the trash of what is in it now, and resolves when that is done. */
  async emptied(): Promise<void> {
    await this.#emptying;
    this.#trashed = true;
    this.#emptyTrash();
    await this.#emptying;
  }

  /** Removes repositories that nothing needs any more: first what is kept under their names, then their rows. */
  async finishRemovals(): Promise<void> {
    const { salvaging, repositories, dependencies, log } = this.#deps;
    const away: string[] = [];
    for (const name of await repositories.removable()) {
      try {
        await dependencies.remove({ name });
        await salvaging.removeMirror({ name });
        away.push(name);
      } catch (error) {
        log.warn({ err: error, repository: name }, "the mirror of a repository that is being removed could not go");
      }
    }
    await repositories.finishRemovals(away);
    if (away.length > 0) this.trashIsDue();
  }

  /** What a crash left: directories that belong to a workspace's row but are not where the row says. */
  async sweepLeftovers(): Promise<void> {
    const { git, salvaging, places, work, log } = this.#deps;
    const found = await git.listWorkspaces(places.workspaceRoot);
    for (const path of await work.leftovers(found)) {
      log.warn({ directory: path }, "removing a directory that a crash left");
      await salvaging.removeLeftover(path);
    }
    await this.#deps.dependencies.sweepLeftovers();
    this.#trashed = true;
  }
}

function after(destroyed: Destroyed, done: WorkResult): WorkResult | undefined {
  if (destroyed.kind === "done") return done;
  return destroyed.kind === "lost" ? undefined : destroyed;
}
