/**
 * Owns what the server and its workers say to each other.
 *
 * Invariants:
 * 1. One call at a time per worker; every `call` is answered by one `started` and then one `done` or `failed`.
 * 2. What goes over is plain data that the structured clone can carry.
 */
import type { Dependencies, Manifest } from "../domain/dependencies.js";
import type { LfsObject, LfsSource } from "../domain/lfs.js";
import type { MirrorProgress } from "../domain/repository.js";
import type { Straggler } from "../domain/straggler.js";
import type { CommitContents } from "../domain/submodule.js";
import type { Verification } from "../domain/verification.js";
import type { MaintainMirrorRequest, MeasureRequest } from "../ports/background-files.js";
import type {
  DropDependenciesRequest,
  KeepDependenciesRequest,
  KeepOutcome,
  PlaceDependenciesRequest,
  SelectManifestsRequest,
  SweepDependenciesRequest,
  WorkspaceFingerprintRequest,
} from "../ports/dependency-files.js";
import type {
  CleanOutcome,
  CleanWorkspaceRequest,
  DiscardWorkspaceRequest,
  FindStragglersRequest,
  MirrorRefs,
  PrepareWorkspaceRequest,
  RefreshWorkspaceRequest,
  Resolved,
  RestoreSalvageRequest,
  SalvageOutcome,
  SalvageRequest,
  UpstreamCredential,
  VerifyWorkspaceRequest,
} from "../ports/git-engine.js";

/** What the names of workers' home directories begin with. */
export const homePrefix = "leasehold-worker-";

/** Where a worker has the pipe that ends with the server. */
export const lifelineDescriptor = 4;

/** The variable in a worker's environment that names the holder's user as `UID:GID`. */
export const holderVariable = "LEASEHOLD_WORKER_HOLDER";

/** How a worker reaches an upstream. */
export interface UpstreamAccess {
  readonly url: string;
  readonly credential?: UpstreamCredential;
}

export interface CloneMirrorJob extends UpstreamAccess {
  readonly path: string;
  /** Where it is made: an absent directory on the same file system. */
  readonly staged: string;
}

export interface FetchMirrorJob extends UpstreamAccess {
  readonly path: string;
  readonly extraRefs: readonly string[];
}

export interface ResolveJob {
  readonly mirror: string;
  readonly revision: string;
}

export interface RemoveDependenciesJob {
  readonly store: string;
  readonly trash: string;
}

export interface ExamineJob {
  readonly mirror: string;
  readonly commit: string;
}

export interface FetchLfsJob {
  readonly mirror: string;
  readonly source: LfsSource;
  readonly objects: readonly LfsObject[];
  readonly credential?: UpstreamCredential;
}

export interface DiscardSalvageJob {
  readonly salvages: string;
  readonly ref: string;
}

export interface FindStragglersJob extends FindStragglersRequest {
  /** Processes of the server's own, which do not count. */
  readonly own: readonly number[];
}

/** Everything that a worker can do, by name. */
export interface Operations {
  cloneMirror(job: CloneMirrorJob, report: (progress: MirrorProgress) => void): Promise<MirrorRefs>;
  fetchMirror(job: FetchMirrorJob): Promise<MirrorRefs>;
  inspectMirror(path: string): Promise<MirrorRefs | undefined>;
  checkMirror(path: string): Promise<boolean>;
  resolve(job: ResolveJob): Promise<Resolved>;
  fetchLfs(job: FetchLfsJob): Promise<void>;
  examineCommit(job: ExamineJob): Promise<CommitContents>;
  prepareWorkspace(job: PrepareWorkspaceRequest): Promise<void>;
  refreshWorkspace(job: RefreshWorkspaceRequest): Promise<"ready" | "broken">;
  cleanWorkspace(job: CleanWorkspaceRequest): Promise<CleanOutcome>;
  verifyWorkspace(job: VerifyWorkspaceRequest): Promise<Verification>;
  findStragglers(job: FindStragglersJob): Promise<readonly Straggler[]>;
  discardWorkspace(job: DiscardWorkspaceRequest): Promise<CleanOutcome>;
  salvageWork(job: SalvageRequest): Promise<SalvageOutcome>;
  restoreSalvage(job: RestoreSalvageRequest): Promise<void>;
  discardSalvage(job: DiscardSalvageJob): Promise<void>;
  selectManifests(job: SelectManifestsRequest): Promise<readonly Manifest[]>;
  workspaceFingerprint(job: WorkspaceFingerprintRequest): Promise<string>;
  keepDependencies(job: KeepDependenciesRequest): Promise<KeepOutcome>;
  placeDependencies(job: PlaceDependenciesRequest): Promise<Dependencies>;
  sweepDependencies(job: SweepDependenciesRequest): Promise<number>;
  dropDependencies(job: DropDependenciesRequest): Promise<string>;
  removeDependencies(job: RemoveDependenciesJob): Promise<void>;
  makePack(job: MaintainMirrorRequest): Promise<MadePack | undefined>;
  swapPacks(job: { readonly mirror: string; readonly made: MadePack }): Promise<boolean>;
  planPacks(job: PlanPacksJob): Promise<SparePacks | undefined>;
  dropPacks(job: { readonly salvages: string; readonly spare: SparePacks }): Promise<number>;
  measure(job: MeasureRequest): Promise<number>;
  emptyTrash(trash: string): Promise<void>;
}

export type OperationName = keyof Operations;
export type JobOf<Name extends OperationName> = Parameters<Operations[Name]>[0];
export type AnswerOf<Name extends OperationName> = Awaited<ReturnType<Operations[Name]>>;

export interface PlanPacksJob {
  readonly salvages: string;
  /** Of the repository; and where those of its submodules' upstreams are. */
  readonly mirror: string;
  readonly modules: string;
}

/** Packs of a repository of salvages that nothing needs while it is as it was. Names without endings. */
export interface SparePacks {
  readonly packs: readonly string[];
  /** A digest of its references and packs. */
  readonly seen: string;
}

/** A pack that was made of others and waits to take their place. Names without endings. */
export interface MadePack {
  readonly name: string;
  readonly replaced: readonly string[];
  /**
   * A digest of the mirror's references: the pack has what these need and not all that the others had, and may take their
   * place only while they and the packs are the same. Empty: it has all that was in those that it replaces.
   */
  readonly refs: string;
}

/** Server to worker. */
export interface CallMessage {
  readonly operation: OperationName;
  readonly job: unknown;
}

/** Worker to server. */
export type WorkerMessage =
  | { readonly kind: "ready" }
  | { readonly kind: "started" }
  | { readonly kind: "progress"; readonly progress: MirrorProgress }
  /** `rss`: resident memory in bytes, for recycling. */
  | { readonly kind: "done"; readonly answer: unknown; readonly rss: number }
  | { readonly kind: "failed"; readonly fault: Fault; readonly rss: number };

/** Why an operation failed, as far as the worker can tell; `classify.ts` turns it into a failure. */
export interface Fault {
  /** Set where the worker knows the kind of fault; otherwise the rest is judged. */
  readonly kind?:
    | "obstructed"
    | "salvage-not-found"
    | "revision-not-found"
    | "revision-ambiguous"
    | "upstream-unavailable"
    | "upstream-denied"
    | "host-io";
  readonly message: string;
  /** Of a file system error, such as ENOSPC. */
  readonly code?: string;
  /** libgit2's error number. */
  readonly errno?: number;
  readonly stack?: string;
  /** For `revision-ambiguous`: what it may mean. */
  readonly candidates?: readonly string[];
}
