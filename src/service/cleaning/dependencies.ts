/**
 * Owns the dependencies of leases: the fingerprint, what is put in place at the beginning, and what is kept at the end.
 *
 * Invariants:
 * 1. Files are moved only under a claim of the workspace, which the store has confirmed right before.
 * 2. Nothing is kept of a workspace that a process still uses, or whose work could not be salvaged.
 * 3. What goes wrong with kept files costs an installation, never a lease or a clean workspace.
 */
import {
  type Dependencies as Answer,
  fingerprintOf,
  type LeaseDependencies,
  type Manifest,
  mostManifests,
} from "../../domain/dependencies.js";
import { Failure } from "../../domain/failure.js";
import { type LeaseKey, leaseId } from "../../domain/lease.js";
import type { Repository } from "../../domain/repository.js";
import type { DependencyFiles, DependencyOwner } from "../../ports/dependency-files.js";
import type { DependencyStore } from "../../ports/dependency-store.js";
import type { HostOwnership } from "../../ports/host-store.js";
import type { TicketSpec } from "../../ports/lease-store.js";
import type { Logger } from "../../ports/logger.js";
import type { RepositoryStore } from "../../ports/repository-store.js";
import type { Work } from "../../ports/workspace-store.js";
import type { Places } from "../places.js";
import { hostPlatform } from "../platform.js";

export interface DependenciesOptions {
  readonly store: DependencyStore;
  readonly repositories: RepositoryStore;
  readonly files: DependencyFiles;
  readonly places: Places;
  readonly ownership: HostOwnership;
  readonly log: Logger;
}

/** Selections of manifests that are remembered: a commit's never change. */
const mostSelections = 200;

export class Dependencies {
  readonly #deps: DependenciesOptions;
  readonly #selections = new Map<string, Promise<readonly Manifest[]>>();

  constructor(deps: DependenciesOptions) {
    this.#deps = deps;
  }

  /** The manifests that the wish selects of the commit. Fails with FIELD_INVALID where they are too many. */
  find(
    wish: NonNullable<TicketSpec["dependencies"]>,
    repository: Repository,
    commit: string,
  ): Promise<readonly Manifest[]> {
    return this.#select(this.#deps.places.mirror(repository), commit, wish.manifests);
  }

  /** Puts in place what was kept. Undefined without manifests. `path`: prepared at `commit`, under the claim `key`. */
  async place(
    wish: NonNullable<TicketSpec["dependencies"]>,
    repository: Repository,
    commit: string,
    { key, path }: { readonly key: LeaseKey; readonly path: string },
  ): Promise<LeaseDependencies | undefined> {
    if (wish.manifests.length === 0) return undefined;
    const { store, files, places } = this.#deps;
    const mirror = places.mirror(repository);
    const manifests = await this.find(wish, repository, commit);
    const fingerprint = fingerprintOf(manifests, hostPlatform(), wish.environment);
    const { caller, manifests: patterns, environment, keepPaths } = wish;
    const offer = async (answer: Answer): Promise<LeaseDependencies> => {
      const dependencies = { ...answer, wish: { manifests: patterns, environment, keepPaths } };
      if (!(await store.offer(key, dependencies))) throw new Error("the workspace is prepared by another server now");
      return dependencies;
    };
    const nothing: Answer = { fingerprint, state: "MISSING", changedManifests: [], cachePath: "" };
    const [cachesInUse] = await Promise.all([store.cachesInUse(repository.id), offer(nothing)]);
    const owner = this.#owner(repository, caller, keepPaths, fingerprint);
    const prepared = { mirror, commit, manifests, path, leaseId: leaseId(key), cachesInUse };
    return offer(await files.placeDependencies({ ...owner, ...prepared }));
  }

  /** The holder says that they are installed. Looks whether the manifests still are the lease's, where that is possible. */
  async markInstalled(key: LeaseKey): Promise<void> {
    const { store, ownership, log } = this.#deps;
    const lease = await store.living(key);
    if (!lease) return;
    const isHere = ownership.owner && lease.host === ownership.host.name;
    try {
      if (isHere && !(await this.#isUnchanged(lease))) {
        log.info({ lease: leaseId(key) }, "not marked as installed: the manifests are not the commit's");
        return;
      }
      await store.markInstalled(key);
    } catch (error) {
      log.warn({ err: error, lease: leaseId(key) }, "could not mark dependencies as installed");
    }
  }

  /** As `markInstalled`, where the lease is about to end: its cleaning looks. */
  markAtEnd(key: LeaseKey): Promise<void> {
    return this.#deps.store.markInstalled(key);
  }

  /** Moves what is to be kept out of a workspace that is about to be cleaned. */
  async keep(work: Work, repository: Repository, isInUse: boolean): Promise<void> {
    const { store, files, places, ownership, log } = this.#deps;
    const lease = isInUse ? undefined : await store.beginKeeping(work.key);
    if (lease) {
      const { wish, fingerprint } = lease.dependencies;
      const name = leaseId(lease.key);
      try {
        const outcome = await files.keepDependencies({
          ...this.#owner(repository, lease.caller, wish.keepPaths, fingerprint),
          ...{ mirror: places.mirror(repository), commit: lease.commit, patterns: wish.manifests },
          ...{ platform: hostPlatform(), environment: wish.environment, candidates: work.candidates, leaseId: name },
          ...{ repository: repository.name, host: ownership.host.name, workspaceId: work.key.workspaceId },
        });
        log.info({ lease: name, outcome }, "dependencies of a lease");
      } catch (error) {
        log.warn({ err: error, lease: name }, "dependencies could not be kept");
      }
    }
    await store.settle(work.key);
  }

  /** What a crash left half moved. */
  async sweepLeftovers(): Promise<void> {
    const { store, files, places, log } = this.#deps;
    const { dependencies: root, trash } = places;
    const swept = await files.sweepDependencies({ root, trash, pending: await store.pending() });
    if (swept > 0) log.warn({ sets: swept }, "removing dependencies that a crash left half moved");
  }

  async remove(repository: Pick<Repository, "name">): Promise<void> {
    const { files, places } = this.#deps;
    await files.removeDependencies(places.dependenciesOf(repository), places.trash);
  }

  async #isUnchanged(lease: NonNullable<Awaited<ReturnType<DependencyStore["living"]>>>): Promise<boolean> {
    const { repositories, files, places } = this.#deps;
    const repository = await repositories.byId(lease.repositoryId);
    if (!repository) return false;
    const { fingerprint, wish } = lease.dependencies;
    const found = await files.workspaceFingerprint({
      ...{ mirror: places.mirror(repository), commit: lease.commit, patterns: wish.manifests },
      ...{ platform: hostPlatform(), environment: wish.environment, path: lease.path },
    });
    return found === fingerprint;
  }

  #owner(repository: Repository, caller: string, keepPaths: readonly string[], fingerprint: string): DependencyOwner {
    const { places } = this.#deps;
    const { url: origin, shareDependencies: shared } = repository;
    const store = places.dependenciesOf(repository);
    return { store, trash: places.trash, origin, caller, shared, keepPaths, fingerprint };
  }

  #select(mirror: string, commit: string, patterns: readonly string[]): Promise<readonly Manifest[]> {
    const key = JSON.stringify([mirror, commit, patterns]);
    const known = this.#selections.get(key) ?? this.#selectAnew(mirror, commit, patterns);
    this.#selections.delete(key);
    this.#selections.set(key, known);
    known.catch(() => this.#selections.delete(key));
    for (const oldest of this.#selections.keys()) {
      if (this.#selections.size <= mostSelections) break;
      this.#selections.delete(oldest);
    }
    return known;
  }

  async #selectAnew(mirror: string, commit: string, patterns: readonly string[]): Promise<readonly Manifest[]> {
    const manifests = await this.#deps.files.selectManifests({ mirror, commit, patterns });
    if (manifests.length <= mostManifests) return manifests;
    const description = `selects more than ${mostManifests.toLocaleString("en")} files of this commit`;
    throw new Failure("FIELD_INVALID", `dependency_manifests: ${description}`, {
      fields: [{ field: "dependency_manifests", description }],
    });
  }
}
