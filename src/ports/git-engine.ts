/**
 * The port to git: mirrors, and the files of workspaces.
 *
 * Contract for every method:
 * 1. No `.git` that a holder had is ever opened or obeyed; a fresh one takes its place.
 * 2. No path operation follows a symlink out of the directory it was given.
 * 3. A call ends within its deadline whatever the upstream or the disk does; then it fails, and what it
 *    left behind is garbage that the same call, made again, replaces.
 * 4. Failures: UPSTREAM_UNAVAILABLE, UPSTREAM_DENIED (the upstream's fault or the credential's), REVISION_NOT_FOUND,
 *    REVISION_AMBIGUOUS (the caller's), HOST_IO (this host's disk), INTERNAL (a defect).
 */
import type { LfsObject, LfsSource } from "../domain/lfs.js";
import type { MirrorProgress, ObjectStorage } from "../domain/repository.js";
import type { Straggler } from "../domain/straggler.js";
import type { CommitContents } from "../domain/submodule.js";
import type { Verification } from "../domain/verification.js";
import type { BackgroundFiles } from "./background-files.js";
import type { DependencyFiles } from "./dependency-files.js";
import type { HostDirectories } from "./host-directories.js";

/** How to authenticate against an upstream. Read from the server's configuration right before use. */
export interface UpstreamCredential {
  readonly username?: string;
  readonly password?: string;
  /** Private key, PEM or OpenSSH text. */
  readonly privateKey?: string;
  /** Lines of an OpenSSH known_hosts file; ssh hosts that are not in it are refused. */
  readonly knownHosts?: string;
}

/** What to check out. */
export interface CheckoutTarget {
  /** Full commit id; empty for a repository without commits. */
  readonly commit: string;
  /** `refs/heads/<name>` to be on that local branch, or empty to be detached. */
  readonly head: string;
  /** Whether the branch of `head` follows `origin/<name>`. */
  readonly tracking: boolean;
  /** Whether files of the commit are pointers of Git LFS, whose contents the mirror has. Default false. */
  readonly lfs?: boolean;
  /** The submodules that belong to the commit; default none. */
  readonly submodules?: readonly SubmoduleTarget[];
}

/** A submodule to place, with its own. */
export interface SubmoduleTarget {
  /** The place of its git directory below `modules`. */
  readonly name: string;
  /** In its superproject. */
  readonly path: string;
  /** Its remote `origin`. */
  readonly url: string;
  /** Full commit id, which the mirror has. Empty mirror: it is configured but not placed (`update` is `none`). */
  readonly commit: string;
  readonly mirror: string;
  /** As its superproject's `.gitmodules` says; empty for nothing. */
  readonly update: string;
  /** As in `CheckoutTarget`. */
  readonly lfs: boolean;
  readonly submodules: readonly SubmoduleTarget[];
}

export interface Resolved {
  /** Full commit id; empty only for the default branch of a repository without commits. */
  readonly commit: string;
  /** `refs/heads/<name>` if a branch was named, otherwise empty. */
  readonly head: string;
}

export interface MirrorRefs {
  /** Digest over all refs and HEAD; equal digests mean equal refs. */
  readonly digest: string;
  /** Without `refs/heads/`; empty without commits. */
  readonly defaultBranch: string;
}

export interface CloneMirrorRequest {
  /** Where the whole mirror is to be. Does not exist, or is replaced. */
  readonly path: string;
  /** Directory on the same file system for staging; made if missing. */
  readonly staging: string;
  readonly url: string;
  readonly credential?: UpstreamCredential;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: MirrorProgress) => void;
}

export interface FetchMirrorRequest {
  readonly path: string;
  readonly url: string;
  readonly credential?: UpstreamCredential;
  /** Refs outside heads and tags to fetch as well, by full name, such as `refs/pull/12/head`; missing ones are ignored. */
  readonly extraRefs: readonly string[];
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}

export interface FetchLfsRequest {
  readonly mirror: string;
  readonly source: LfsSource;
  readonly objects: readonly LfsObject[];
  readonly credential?: UpstreamCredential;
  readonly deadlineMs: number;
}

/** Settings of a workspace's `.git`. */
export interface WorkspaceIdentity {
  /** How its objects come from the mirror. Default AUTO. */
  readonly objectStorage?: ObjectStorage;
  /** URL of the upstream: the remote `origin`. */
  readonly origin: string;
  readonly author?: { readonly name: string; readonly email: string };
}

export interface PrepareWorkspaceRequest extends WorkspaceIdentity {
  readonly mirror: string;
  readonly path: string;
  /** The trusted copy of the index, outside the workspace: read where it exists, written when done. */
  readonly trustedIndex: string;
  readonly target: CheckoutTarget;
  /** Create this local branch at the target's commit and be on it. */
  readonly branch?: string;
  /** The commit that the workspace stands at now, if it was prepared before. */
  readonly from?: string;
}

export interface CleanWorkspaceRequest extends WorkspaceIdentity {
  readonly mirror: string;
  /** Where the clean workspace is to be. */
  readonly path: string;
  /** Where its files may be now, newest first: a killed attempt may have moved them. May contain `path`. */
  readonly candidates: readonly string[];
  /** Directory on the same file system that takes what is to be removed. */
  readonly trash: string;
  readonly trustedIndex: string;
  /** The commit that the trusted index is of; empty if unknown. */
  readonly from: string;
  readonly target: CheckoutTarget;
  /** Salvage has just compared the files, and verification will: they need not be compared in between. Default false. */
  readonly comparedBefore?: boolean;
  /** Use nothing of what is there: all of it goes into the trash, and a fresh clone takes its place. Default false. */
  readonly fromScratch?: boolean;
}

/** What a workspace is to be compared with. */
export interface VerifyWorkspaceRequest extends WorkspaceIdentity {
  readonly mirror: string;
  readonly path: string;
  readonly trustedIndex: string;
  readonly target: CheckoutTarget;
  /** As in the request that prepared it. */
  readonly branch?: string;
  /** Read every file and every object, and trust no file's time. */
  readonly deep: boolean;
}

export interface RefreshWorkspaceRequest {
  readonly mirror: string;
  /** A workspace that was parked: a holder's. */
  readonly path: string;
  /** How objects that are new come into it. */
  readonly objectStorage: ObjectStorage;
}

export interface FindStragglersRequest {
  /** Where the workspace's files are or were. */
  readonly places: readonly string[];
  /** When its last lease began, in ms since the epoch: an unreadable process that is older is none of its holder's. Unset: unknown. */
  readonly sinceMs?: number;
  /** End them with SIGKILL, and wait until they are gone. */
  readonly kill: boolean;
}

export type CleanOutcome =
  | { readonly kind: "clean"; readonly recreated: boolean }
  /** What stands there refuses to go, and would again: `detail` says what and why. The files are at `path`, perhaps partly cleaned. */
  | { readonly kind: "obstructed"; readonly path: string; readonly detail: string };

export interface DiscardWorkspaceRequest {
  readonly candidates: readonly string[];
  readonly trash: string;
  /** Goes as well; empty: there is none. */
  readonly trustedIndex: string;
}

/** What a salvage is called and whose work it is: its commit's message tells it to whoever finds it. */
export interface SalvageReport {
  readonly salvageId: string;
  readonly repository: string;
  readonly workspaceId: string;
  readonly leaseId: string;
  readonly holder: string;
  readonly caller: string;
  /** Why the workspace is to be destroyed: an end reason of the lease, or another word. */
  readonly reason: string;
}

export interface SalvageRequest {
  readonly mirror: string;
  /** Where the files may be now, newest first. */
  readonly candidates: readonly string[];
  /** The commit that the trusted index is of; empty if unknown. */
  readonly from: string;
  readonly trustedIndex: string;
  /** The bare repository that takes salvages of this repository; made if missing. Complete in itself: it needs no mirror. */
  readonly salvages: string;
  /** Globs of ignored files that are work nevertheless. */
  readonly salvageIgnored: readonly string[];
  readonly report: SalvageReport;
  /**
   * A file above `fileBytes`, or work above `totalBytes` in all, is not cut: the outcome is `refused`. So it is where a part
   * of a `.git` is not read: for lack of permission, for its size, or since it is of a form that is not known here.
   */
  readonly limits: { readonly fileBytes: number; readonly totalBytes: number };
}

export type SalvageOutcome =
  /** There is no work that exists nowhere else. */
  | { readonly kind: "none" }
  /** It is at `ref` in the salvage repository. The same request again, after a kill at any point, gives an equal salvage. */
  | {
      readonly kind: "saved";
      readonly ref: string;
      readonly commit: string;
      readonly files: number;
      readonly commits: number;
      readonly bytes: number;
      /** In words, what could not be saved because the holder's repository is damaged; the files themselves always are. */
      readonly incomplete: readonly string[];
    }
  /** It could not be saved whole; nothing was destroyed. The files are at `path`. */
  | { readonly kind: "refused"; readonly path: string; readonly detail: string };

export interface RestoreSalvageRequest {
  readonly salvages: string;
  readonly ref: string;
  /** A prepared workspace; its files, index, branches and stashes become as they were when they were salvaged. */
  readonly path: string;
}

export interface GitEngine extends BackgroundFiles, DependencyFiles, HostDirectories {
  /** Saves all work in a workspace that exists nowhere else: files, index, commits, stashes, nested repositories. Changes nothing in it. */
  salvageWork(request: SalvageRequest): Promise<SalvageOutcome>;
  /** Brings a salvage back. Fails with SALVAGE_NOT_FOUND. */
  restoreSalvage(request: RestoreSalvageRequest): Promise<void>;
  /** Forgets a salvage; the last one takes the repository with it. Idempotent. */
  discardSalvage(salvages: string, ref: string): Promise<void>;
  /** Makes a mirror in a staging place and renames it when whole. Atomic: `path` is whole or absent. */
  cloneMirror(request: CloneMirrorRequest): Promise<MirrorRefs>;
  /** Brings branches and tags up to date and prunes those that are gone; never touches `refs/leasehold/*`. */
  fetchMirror(request: FetchMirrorRequest): Promise<MirrorRefs>;
  /** Whether a whole, readable mirror is at `path`. Reads its refs and default branch. Undefined if not. */
  inspectMirror(path: string): Promise<MirrorRefs | undefined>;
  /**
   * Whether the mirror's object files are as they came from the upstream, as far as size, permissions and time tell; those
   * whose time differs are read. Holders of the same user can write into files that their workspaces share with it.
   */
  checkMirror(path: string): Promise<boolean>;
  /** Finds what `revision` names; empty is the default branch. */
  resolve(mirror: string, revision: string): Promise<Resolved>;
  /** Brings contents of Git LFS into the mirror, each checked against its id. */
  fetchLfs(request: FetchLfsRequest): Promise<void>;
  /** Tells what of a commit that the mirror has needs more than a checkout. */
  examineCommit(mirror: string, commit: string): Promise<CommitContents>;
  /** Directories two levels below `root` (repository, workspace), without those that begin with a dot: what may be workspaces. */
  listWorkspaces(root: string): Promise<readonly string[]>;
  /** Whether the directory of a workspace is there with a `.git`, without opening it. */
  workspaceExists(path: string): Promise<boolean>;
  /** Makes a full clone at `path` from the mirror, or moves the clean one that is there to the target and the mirror's refs. */
  prepareWorkspace(request: PrepareWorkspaceRequest): Promise<void>;
  /**
   * Brings the remote-tracking refs of a workspace that a holder left, and comes back to, up to date; nothing else in it
   * changes and nothing in its `.git` is obeyed. `broken`: there is no repository that git could use.
   */
  refreshWorkspace(request: RefreshWorkspaceRequest): Promise<"ready" | "broken">;
  /** Makes what a holder left indistinguishable from a fresh clone at the target; a fresh one if nothing usable is left. */
  cleanWorkspace(request: CleanWorkspaceRequest): Promise<CleanOutcome>;
  /**
   * Compares a workspace that no holder has with what a fresh clone would be: every tracked path, everything that is not
   * tracked, every file of `.git`. Shares no code with what makes and cleans workspaces. Changes nothing.
   */
  verifyWorkspace(request: VerifyWorkspaceRequest): Promise<Verification>;
  /** Finds processes that have a directory, a file, a mapping or a mount inside. Empty where the system cannot tell. */
  findStragglers(request: FindStragglersRequest): Promise<readonly Straggler[]>;
  /** Moves the files into the trash. Idempotent. */
  discardWorkspace(request: DiscardWorkspaceRequest): Promise<CleanOutcome>;
  /** Removes everything in `trash`, however its modes are. Idempotent; may take long and may be stopped at any point. */
  emptyTrash(trash: string): Promise<void>;
  /** Stops all workers; running calls fail. */
  close(): Promise<void>;
}
