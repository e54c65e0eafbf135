/**
 * Owns when the owned host's mirrors are made and fetched.
 *
 * Invariants:
 * 1. At most one call upstream per repository runs at a time, and at most one more waits for it; whatever refs its callers
 *    want come with that one.
 * 2. A caller shares a fetch only if that fetch had not begun to ask the upstream when the caller came.
 * 3. What a revision named is remembered by the version of the refs that it was read at, which every fetch that changes
 *    them raises, whichever server made it.
 * 4. A mirror whose objects were written into is made anew before anything is made from it again.
 * 5. What an upstream had from which the repository has moved is never taken for what the new one has.
 * 6. A failed fetch leaves the mirror READY with what it has; only a mirror that could not be made is FAILED.
 */
import { setImmediate as arrived, setTimeout as sleep } from "node:timers/promises";
import { asFailure, Failure } from "../../domain/failure.js";
import type { Mirror, Repository } from "../../domain/repository.js";
import type { Credentials } from "../../ports/credentials.js";
import type { GitEngine, MirrorRefs, Resolved } from "../../ports/git-engine.js";
import type { Logger } from "../../ports/logger.js";
import type { RepositoryStore } from "../../ports/repository-store.js";
import type { Wake } from "../../ports/wake.js";
import type { Disk } from "../disk/disk.js";
import type { Places } from "../places.js";

export interface MirrorLimits {
  readonly fetchMs: number;
  readonly cloneMs: number;
}

/** What an Acquire wants, and the state of the mirror that it was found in. */
export interface Wanted {
  readonly mirror: Mirror;
  readonly resolved: Resolved;
}

interface Lane {
  /** Has begun to ask the upstream. */
  running?: Promise<Mirror> | undefined;
  /** Has not yet. */
  queued?: Promise<Mirror> | undefined;
  /** How many have come to the queued one. */
  joined?: number;
  /** What they want besides branches and tags: refs of pull and merge requests. */
  wanted?: Set<string> | undefined;
}

/** A fetch that others wait for, after one that they came too late for, waits until nobody has come for so long: callers of one moment come one by one. */
const gatherMs = 40;
const mostGatherMs = 400;

export interface MirrorDependencies {
  readonly repositories: RepositoryStore;
  readonly git: GitEngine;
  readonly credentials: Credentials;
  readonly places: Places;
  readonly disk: Disk;
  readonly limits: MirrorLimits;
  readonly wake: Wake;
  readonly log: Logger;
}

const fullCommit = /^[0-9a-f]{40}$/;
const maxFound = 2_000;
const requestRef = /^refs\/(pull|merge-requests)\/./;

export class Mirrors {
  readonly #deps: MirrorDependencies;
  readonly #lanes = new Map<number, Lane>();
  /** Repositories whose mirror on disk was found whole by this process. */
  readonly #whole = new Set<number>();
  /** Repositories whose mirror was found to be damaged and has not been made anew yet. */
  readonly #damaged = new Set<number>();
  readonly #found = new Map<string, Promise<Resolved>>();
  /** What stands against checking a repository out though its mirror is whole. */
  readonly #problems = new Map<number, Resolved & { readonly problem: string }>();

  constructor(deps: MirrorDependencies) {
    this.#deps = deps;
  }

  /**
   * Asks the upstream, sharing the question with others as invariant 2 allows; makes the mirror if there is none.
   * `ref`: comes as well, if the upstream has it.
   */
  fetch(repository: Repository, ref?: string): Promise<Mirror> {
    const lane = this.#lanes.get(repository.id) ?? {};
    this.#lanes.set(repository.id, lane);
    lane.joined = (lane.joined ?? 0) + 1;
    if (ref !== undefined) lane.wanted = (lane.wanted ?? new Set()).add(ref);
    if (lane.queued) return lane.queued;
    const before = lane.running?.catch(() => {}).then(() => gathered(lane)) ?? Promise.resolve();
    lane.queued = before.then(() => {
      const wanted = [...(lane.wanted ?? [])];
      lane.wanted = undefined;
      lane.running = this.#bringUp(repository, wanted).finally(() => {
        lane.running = undefined;
      });
      lane.queued = undefined;
      return lane.running;
    });
    return lane.queued;
  }

  /** A whole mirror with sound objects, however old; the upstream is asked only if there is none. */
  async whole(repository: Repository): Promise<Mirror> {
    const { repositories, git, places, log } = this.#deps;
    const mirror = await repositories.mirror(repository.id);
    if (mirror?.state !== "READY" || !(await this.#isWhole(repository))) return this.fetch(repository);
    if (await git.checkMirror(places.mirror(repository))) return mirror;
    log.warn({ repository: repository.name }, "objects of the mirror were changed: it is made anew");
    return this.repair(repository);
  }

  /** Makes the mirror anew from the upstream: something has written into its objects. */
  repair(repository: Repository): Promise<Mirror> {
    this.#damaged.add(repository.id);
    return this.fetch(repository);
  }

  /** Finds what a revision names, in a mirror that asked the upstream at most `maxStalenessMs` ago. */
  async resolve(repository: Repository, revision: string, maxStalenessMs: number): Promise<Wanted> {
    const known = await this.known(repository, revision, maxStalenessMs);
    if (known) return known;
    const mirror = await this.fetch(repository, requestRef.test(revision) ? revision : undefined);
    return { mirror, resolved: await this.find(repository, mirror, revision) };
  }

  /** The same without asking the upstream; undefined where it has to be asked. */
  async known(repository: Repository, revision: string, maxStalenessMs: number): Promise<Wanted | undefined> {
    if (maxStalenessMs <= 0 && !fullCommit.test(revision)) return undefined;
    const mirror = await this.#deps.repositories.mirror(repository.id);
    if (mirror?.state !== "READY" || mirror.fetchAgeMs === undefined) return undefined;
    if (!(await this.#isWhole(repository))) return undefined;
    const fresh = maxStalenessMs > 0 && mirror.fetchAgeMs <= maxStalenessMs;
    if (!fresh && !fullCommit.test(revision)) return undefined;
    try {
      return { mirror, resolved: await this.find(repository, mirror, revision) };
    } catch (error) {
      if (error instanceof Failure && error.reason === "REVISION_NOT_FOUND") return undefined;
      throw error;
    }
  }

  /** Finds what a revision names in a whole mirror. */
  find(repository: Repository, mirror: Mirror, revision: string): Promise<Resolved> {
    const key = `${repository.id} ${mirror.refsVersion} ${revision}`;
    const known = this.#found.get(key);
    if (known) return known;
    const found = this.#deps.git.resolve(this.#deps.places.mirror(repository), revision);
    this.#found.set(key, found);
    // what is not there now may be there a moment later, and what failed is asked again
    found.catch(() => this.#found.delete(key));
    for (const oldest of this.#found.keys()) {
      if (this.#found.size <= maxFound) break;
      this.#found.delete(oldest);
    }
    return found;
  }

  /**
   * Makes it the problem of a repository whose mirror is READY that a commit cannot be checked out, until that commit,
   * or its branch, can be (empty).
   */
  tellProblem(repository: Repository, { commit, head }: Resolved, fault: string): void {
    const known = this.#problems.get(repository.id);
    const problem = fault === "" ? "" : `commit ${commit} cannot be checked out: ${fault}`;
    if ((known?.problem ?? "") === problem) return;
    if (problem !== "") this.#problems.set(repository.id, { commit, head, problem });
    else if (known?.commit !== commit && (head === "" || (known?.head !== "" && known?.head !== head))) return;
    else this.#problems.delete(repository.id);
    this.#deps.repositories
      .noteProblem(repository.id, problem)
      .then(() => this.#deps.wake.hint())
      .catch((error) => this.#deps.log.warn({ err: error, repository: repository.name }, "a problem was not stored"));
    if (problem !== "") this.#deps.log.warn({ repository: repository.name, problem }, "a commit cannot be checked out");
  }

  async #isWhole(repository: Repository): Promise<boolean> {
    if (this.#whole.has(repository.id)) return true;
    const refs = await this.#deps.git.inspectMirror(this.#deps.places.mirror(repository));
    if (refs) this.#whole.add(repository.id);
    return refs !== undefined;
  }

  async #bringUp(asked: Repository, wanted: readonly string[]): Promise<Mirror> {
    const { repositories, log, wake } = this.#deps;
    // its upstream may have moved while this waited its turn
    const repository = (await repositories.byId(asked.id)) ?? asked;
    const known = await repositories.mirror(repository.id);
    const isUsable = known?.state === "READY" && !this.#damaged.has(repository.id);
    const exists = isUsable && (await this.#isWhole(repository));
    const start = performance.now();
    const stored = (refs: MirrorRefs) => this.#store(repository, refs, performance.now() - start);
    let made: Mirror | undefined;
    try {
      made = exists ? undefined : await stored(await this.#make(repository));
      // a clone has branches and tags only
      const mirror = made && wanted.length === 0 ? made : await stored(await this.#refresh(repository, wanted));
      log.info(
        { repository: repository.name, made: !exists, ms: Math.round(performance.now() - start) },
        "mirror is up to date",
      );
      return mirror;
    } catch (error) {
      const failure = asFailure(error);
      const { reason, message: problem, cause } = failure;
      // what an upstream does is no defect of ours: its words, without a stack
      const detail = reason.startsWith("UPSTREAM_")
        ? { cause: cause instanceof Error ? cause.message : undefined }
        : { err: cause ?? failure };
      log.warn({ repository: repository.name, reason, problem, ...detail }, "mirror could not be fetched");
      if (!exists && !made && failure.reason !== "DATABASE_UNAVAILABLE") {
        await repositories.updateMirror(repository.id, {
          state: "FAILED",
          problem: failure.message,
          defaultBranch: "",
          digest: "",
        });
        wake.hint();
      }
      throw failure;
    }
  }

  async #refresh(repository: Repository, extraRefs: readonly string[]): Promise<MirrorRefs> {
    const { git, places, limits } = this.#deps;
    const credential = await this.#deps.credentials.forUrl(repository.url, repository.credential);
    const path = places.mirror(repository);
    try {
      return await git.fetchMirror({
        path,
        url: repository.url,
        extraRefs,
        deadlineMs: limits.fetchMs,
        ...(credential ? { credential } : {}),
      });
    } catch (error) {
      if (asFailure(error).reason.startsWith("UPSTREAM_")) throw error;
      // a damaged mirror is replaced whole; a sound one keeps its failure
      this.#whole.delete(repository.id);
      if (await this.#isWhole(repository)) throw error;
      return this.#make(repository);
    }
  }

  async #make(repository: Repository): Promise<MirrorRefs> {
    const { git, places, limits, repositories, disk, log } = this.#deps;
    await disk.require();
    log.info({ repository: repository.name }, "making the mirror");
    await repositories.updateMirror(repository.id, { state: "MIRRORING", problem: "", defaultBranch: "", digest: "" });
    const credential = await this.#deps.credentials.forUrl(repository.url, repository.credential);
    let reported = 0;
    const refs = await git.cloneMirror({
      path: places.mirror(repository),
      staging: places.staging,
      url: repository.url,
      deadlineMs: limits.cloneMs,
      ...(credential ? { credential } : {}),
      onProgress: (progress) => {
        if (performance.now() - reported < 500) return;
        reported = performance.now();
        repositories.reportProgress(repository.id, progress).catch(() => {});
      },
    });
    this.#whole.add(repository.id);
    this.#damaged.delete(repository.id);
    return refs;
  }

  async #store(repository: Repository, refs: MirrorRefs, fetchedMsAgo: number): Promise<Mirror> {
    const mirror = await this.#deps.repositories.updateMirror(repository.id, {
      state: "READY",
      url: repository.url,
      problem: this.#problems.get(repository.id)?.problem ?? "",
      fetchedMsAgo,
      ...refs,
    });
    this.#deps.wake.hint();
    return mirror;
  }
}

/** Looks after each pause, when what has arrived meanwhile has been read: a busy process sees its callers late. */
async function gathered(lane: Lane): Promise<void> {
  const end = performance.now() + mostGatherMs;
  for (let before = -1; lane.joined !== before && performance.now() < end; ) {
    before = lane.joined ?? 0;
    await sleep(gatherMs);
    await arrived();
  }
}
