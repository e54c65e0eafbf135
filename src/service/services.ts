/**
 * Owns the shape of what the service offers, in domain terms: what `rpc/` calls and nothing else.
 *
 * Inputs have been checked (`rpc/limits/checks.ts`); every method fails with a `Failure` and nothing else, but for defects.
 * `caller` decides what is seen: a runner sees and ends its own leases only.
 */
import type { DependencyWish } from "../domain/dependencies.js";
import type { Event, EventFilter } from "../domain/event.js";
import type { Host } from "../domain/host.js";
import type { Lease, TtlBounds } from "../domain/lease.js";
import type { RepositoryOverview, RepositorySettings } from "../domain/repository.js";
import type { Salvage } from "../domain/salvage.js";
import type { SweepReport } from "../domain/sweep.js";
import type { HostUsage } from "../domain/usage.js";
import type { Verification } from "../domain/verification.js";
import type { Disposition, Workspace, WorkspaceResult } from "../domain/workspace.js";
import type { Grant, ReclaimSelector, ResetSelector, WorkspaceFilter } from "../ports/lease-store.js";
import type { SalvageFilter, WorkFate } from "../ports/salvage-store.js";
import type { CallContext } from "./call.js";
import type { Sessions } from "./sessions.js";

export type { CallContext };

export interface AcquireInput {
  readonly requestId: string;
  readonly repository: string;
  readonly revision: string;
  readonly host: string;
  readonly holder: string;
  readonly ttlMs: number | undefined;
  readonly waitMs: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly maxStalenessMs: number;
  readonly branch: string;
  readonly author?: { readonly name: string; readonly email: string };
  /** The caller's key for the workspace; empty: none. */
  readonly binding: string;
  /** URL of the issue or pull request that it is for; empty: none. */
  readonly subject: string;
  /** Empty: nothing is restored. */
  readonly restoreSalvageId: string;
  /** Unset: none of it was asked for. */
  readonly dependencies?: DependencyWish;
}

export interface Acquired {
  readonly grant: Grant;
  readonly token: string;
  readonly storeId: string;
  /** To be called when the answer was written. */
  readonly delivered: () => void;
  /** To be called when the answer could not be written: gives the lease up again, unless somebody got or asks for the same answer. */
  readonly undelivered: () => Promise<void>;
}

export interface ReleaseInput {
  readonly leaseId: string;
  readonly token: string;
  readonly disposition: Disposition;
  readonly waitForClean: boolean;
  readonly dependenciesInstalled: boolean;
}

export interface Released {
  readonly workspace: Workspace;
  readonly alreadyReleased: boolean;
  /** What became of work that exists nowhere else. */
  readonly fate: WorkFate;
}

export interface ListInput {
  readonly filter: WorkspaceFilter;
  /** 1 to 1,000. */
  readonly pageSize: number;
  /** Id of the last workspace of the page before; empty for the first page. */
  readonly after: string;
}

export interface WorkspaceList {
  readonly workspaces: readonly Workspace[];
  /** Whether there may be more. */
  readonly more: boolean;
  /** Newest revision when this page was read. */
  readonly revision: bigint;
  readonly storeId: string;
}

export interface WatchInput {
  readonly filter: EventFilter;
  readonly fromRevision: bigint | undefined;
  readonly includeSnapshot: boolean;
  readonly untilNow: boolean;
  /** Empty: not compared. */
  readonly storeId: string;
}

export type WatchItem = { readonly revision: bigint; readonly storeId: string } & (
  | { readonly kind: "snapshot"; readonly workspace: Workspace }
  | { readonly kind: "snapshotEnd"; readonly workspaces: number }
  | { readonly kind: "event"; readonly event: Event }
  | { readonly kind: "bookmark" }
);

/** What a watcher is given at once: one item, or several that follow each other. */
export type WatchStep = WatchItem | readonly WatchItem[];

export interface Workspaces {
  acquire(input: AcquireInput, call: CallContext): Promise<Acquired>;
  heartbeat(
    leaseId: string,
    token: string,
    ttlMs: number | undefined,
    call: CallContext,
    dependenciesInstalled?: boolean,
  ): Promise<Lease>;
  release(input: ReleaseInput, call: CallContext): Promise<Released>;
  list(input: ListInput, call: CallContext): Promise<WorkspaceList>;
  get(workspaceId: string, call: CallContext): Promise<Workspace>;
  reclaim(selector: ReclaimSelector, call: CallContext): Promise<readonly WorkspaceResult[]>;
  reset(selector: ResetSelector, call: CallContext): Promise<readonly WorkspaceResult[]>;
  /** The first item comes at once. Ends by throwing DRAINING when the server drains. */
  watch(input: WatchInput, call: CallContext): AsyncIterable<WatchStep>;
}

export interface SalvageInput {
  readonly filter: SalvageFilter;
  /** 1 to 1,000. */
  readonly pageSize: number;
  /** Id of the last salvage of the page before; empty for the first page. */
  readonly after: string;
}

export interface SalvageList {
  readonly salvages: readonly Salvage[];
  /** Whether there may be more. */
  readonly more: boolean;
  /** Newest revision when this page was read. */
  readonly revision: bigint;
}

export interface VerifyInput {
  /** Empty: all. */
  readonly repository: string;
  readonly host: string;
  readonly workspaceIds: readonly string[];
}

/** `skipped`: why it was not looked at, its state, WORKSPACE_NOT_FOUND or HOST_UNAVAILABLE. */
export type VerifyResult = { readonly workspaceId: string; readonly workspace?: Workspace } & (
  | { readonly verification: Verification }
  | { readonly skipped: string }
);

export interface ServerInfo {
  readonly version: string;
  readonly host: string;
  readonly owner: boolean;
  readonly storeId: string;
  readonly newestRevision: bigint;
  readonly oldestRevision: bigint;
  readonly startTime: Date;
  readonly eventRetentionMs: number;
  readonly ttl: TtlBounds;
  readonly authentication: boolean;
  readonly components: Readonly<Record<string, string>>;
  /** The newest sweep of the fleet; unset if there was none. */
  readonly lastSweep?: SweepReport;
}

export interface Administration {
  /** `name` empty: derived from the URL. */
  registerRepository(name: string, settings: RepositorySettings, call: CallContext): Promise<RepositoryOverview>;
  /** Only the given settings are changed. */
  updateRepository(name: string, changes: Partial<RepositorySettings>, call: CallContext): Promise<RepositoryOverview>;
  /** `after`: name of the last one of the page before. */
  listRepositories(
    input: {
      readonly after: string;
      readonly pageSize: number;
      readonly labels: Readonly<Record<string, string>>;
      readonly name: string;
    },
    call: CallContext,
  ): Promise<{ readonly repositories: readonly RepositoryOverview[]; readonly more: boolean }>;
  removeRepository(name: string, force: boolean, call: CallContext): Promise<void>;
  refreshMirror(
    name: string,
    call: CallContext,
  ): Promise<{ readonly overview: RepositoryOverview; readonly changed: boolean }>;
  verifyWorkspaces(input: VerifyInput, call: CallContext): Promise<readonly VerifyResult[]>;
  listSalvages(input: SalvageInput, call: CallContext): Promise<SalvageList>;
  discardSalvage(salvageId: string, call: CallContext): Promise<void>;
  listHosts(
    input: { readonly after: string; readonly pageSize: number },
    call: CallContext,
  ): Promise<{ readonly hosts: readonly Host[]; readonly more: boolean }>;
  removeHost(name: string, force: boolean, call: CallContext): Promise<void>;
  /** Answers when it is over. */
  sweep(dryRun: boolean, call: CallContext): Promise<{ readonly report: SweepReport; readonly joined: boolean }>;
  /** `host` empty: all. `sizes`: whether workspaces are told one by one. */
  usage(host: string, sizes: boolean, call: CallContext): Promise<readonly HostUsage[]>;
  serverInfo(call: CallContext): Promise<ServerInfo>;
}

export interface Services {
  readonly workspaces: Workspaces;
  readonly administration: Administration;
  readonly sessions: Sessions;
}
