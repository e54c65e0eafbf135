/**
 * The port to the files of dependencies: manifests, and what is kept of one lease for the next.
 *
 * Contract for every method:
 * 1. A holder's files are data: no symlink is followed, nothing is run or obeyed.
 * 2. Kept files are moved by rename, never copied. After a kill at any point each is in one place: the workspace, its
 *    set, or the trash. A set without its state is none.
 * 3. A set is in one workspace at a time. It is whole or not at all.
 */
import type { Dependencies, Manifest, Platform } from "../domain/dependencies.js";

export interface SelectManifestsRequest {
  readonly mirror: string;
  /** Full commit id; empty for a repository without commits. */
  readonly commit: string;
  /** Paths, globs, or `auto`. */
  readonly patterns: readonly string[];
}

/** What a fingerprint is of. */
export interface FingerprintRequest extends SelectManifestsRequest {
  readonly platform: Platform;
  readonly environment: Readonly<Record<string, string>>;
}

export interface WorkspaceFingerprintRequest extends FingerprintRequest {
  /** Where the workspace is. */
  readonly path: string;
}

/** Whose files they are, and where files of the same repository on the same host are. */
export interface DependencyOwner {
  /** Directory for all that is kept of the repository. */
  readonly store: string;
  /** On the same file system. */
  readonly trash: string;
  /** The upstream's URL: what was kept of another repository of the same name is not taken. */
  readonly origin: string;
  readonly caller: string;
  /** Whether all callers share. */
  readonly shared: boolean;
  readonly keepPaths: readonly string[];
  readonly fingerprint: string;
}

/** Facts for people, in the set's state. */
export interface KeepFacts {
  readonly repository: string;
  readonly host: string;
  readonly workspaceId: string;
}

export interface KeepDependenciesRequest extends DependencyOwner, FingerprintRequest, KeepFacts {
  /** Where the workspace's files may be, newest first. */
  readonly candidates: readonly string[];
  /** The lease that ended: names the set. */
  readonly leaseId: string;
}

export type KeepOutcome =
  | { readonly kind: "kept"; readonly paths: readonly string[] }
  /** There were no paths to keep: the cache is marked as installed. */
  | { readonly kind: "cached" }
  | { readonly kind: "nothing"; readonly reason: string };

export interface PlaceDependenciesRequest extends DependencyOwner {
  readonly mirror: string;
  readonly commit: string;
  readonly manifests: readonly Manifest[];
  /** A prepared workspace, of which the caller has the claim. */
  readonly path: string;
  /** The lease that is to be. */
  readonly leaseId: string;
  /** `cachePath`s that living leases have. */
  readonly cachesInUse: readonly string[];
}

export interface SweepDependenciesRequest {
  /** The directory of all repositories' stores. */
  readonly root: string;
  readonly trash: string;
  /** Leases whose files may be on their way in or out. */
  readonly pending: readonly string[];
}

export interface DropDependenciesRequest {
  /** The directory of all repositories' stores. */
  readonly root: string;
  readonly trash: string;
  /** `cachePath`s that living leases have. */
  readonly inUse: readonly string[];
}

export interface DependencyFiles {
  /** The files of the commit that the patterns select, by path; one more than `mostManifests` if there are more. */
  selectManifests(request: SelectManifestsRequest): Promise<readonly Manifest[]>;
  /** The fingerprint that the files in a workspace give; empty if it cannot be told. Ignored files do not count. */
  workspaceFingerprint(request: WorkspaceFingerprintRequest): Promise<string>;
  /** Moves what is kept out of a workspace that nobody holds. The same request again, after a kill, goes on. */
  keepDependencies(request: KeepDependenciesRequest): Promise<KeepOutcome>;
  /** Moves what was kept for this fingerprint into a workspace. */
  placeDependencies(request: PlaceDependenciesRequest): Promise<Dependencies>;
  /** Moves what crashes left half moved into the trash. Answers how many that were. */
  sweepDependencies(request: SweepDependenciesRequest): Promise<number>;
  /** Moves the set or unused cache that was not used for longest, of all repositories, into the trash. Answers which; empty if there is none. */
  dropDependencies(request: DropDependenciesRequest): Promise<string>;
  /** Moves all that is kept of a repository into the trash. */
  removeDependencies(store: string, trash: string): Promise<void>;
}
