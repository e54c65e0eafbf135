/**
 * The port to the store of leases: tickets (waiting Acquires), grants, and ends.
 *
 * Contract for every method:
 * 1. One call is one transaction; it either happened whole or not at all, and its events were written with it.
 * 2. Whoever mints, ends or takes over a workspace's token holds that workspace's advisory lock while doing so,
 *    and the fence is compared and set besides; either alone prevents a double grant.
 * 3. The database's clock alone decides.
 * 4. Fails with DATABASE_UNAVAILABLE when the database cannot be reached; then the outcome is unknown and the call may be made again.
 */
import type { Dependencies, DependencyWish } from "../domain/dependencies.js";
import type { FailureRecord } from "../domain/failure.js";
import type { Lease, LeaseEndReason, LeaseKey } from "../domain/lease.js";
import type { Subject } from "../domain/subject.js";
import type { Verification } from "../domain/verification.js";
import type { Disposition, Workspace, WorkspaceResult, WorkspaceState } from "../domain/workspace.js";

/** What a ticket asks for; stored, so that any server can answer and the host's owner can serve it. */
export interface TicketSpec {
  readonly revision: string;
  readonly holder: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ttlMs: number;
  readonly maxStalenessMs: number;
  readonly branch: string;
  readonly author?: { readonly name: string; readonly email: string };
  /** The caller's key for the workspace; empty: none. */
  readonly binding: string;
  readonly subject?: Subject;
  /** Brings this salvage back to the workspace. */
  readonly restore?: SalvageWish;
  /** `caller`: who may have what was kept. */
  readonly dependencies?: DependencyWish & { readonly caller: string };
  /** Whether it may wait for a workspace. */
  readonly mayWait: boolean;
}

/** A salvage that a ticket is to restore. */
export interface SalvageWish {
  readonly salvageId: string;
  /** Set for a runner: it must be of one of this caller's leases. */
  readonly caller?: string;
}

export interface OpenTicket {
  readonly caller: string;
  /** Empty: not idempotent. */
  readonly requestId: string;
  /** Digest over all fields of the request but `wait`. */
  readonly digest: string;
  readonly repositoryId: number;
  readonly hostId: number;
  readonly spec: TicketSpec;
}

export type OpenedTicket =
  /** `hostId`: where it is served; of one that was joined, where its first caller went. */
  | { readonly kind: "opened" | "joined"; readonly ticketId: bigint; readonly hostId: number }
  /** The request was granted before; the lease may have ended since. */
  | { readonly kind: "leased"; readonly ticketId: bigint; readonly grant: Grant }
  | { readonly kind: "reused" };

/** A ticket that the owner of its host is to serve. */
export interface Ticket {
  readonly ticketId: bigint;
  readonly repositoryId: number;
  readonly spec: TicketSpec;
}

export interface GrantRequest {
  readonly ticketId: bigint;
  readonly commit: string;
  readonly head: string;
  readonly refsVersion: bigint;
  /** Of the upstream where the commit was found. */
  readonly url: string;
  /** Directory under which a new workspace's path is made. */
  readonly workspaceRoot: string;
  /** Whether there is room on the disk for a new one. */
  readonly mayMake: boolean;
}

export type GrantOutcome =
  | {
      readonly kind: "granted";
      readonly key: LeaseKey;
      readonly path: string;
      /** The commit it stands at; empty for a new one. */
      readonly from: string;
      /** `exact`: idle at that commit, head and refs. */
      /** `bound`: it comes back to its binding, with its files as they were parked. */
      readonly source: "exact" | "idle" | "new" | "bound";
    }
  /** `position` counts from 1. */
  | { readonly kind: "waiting" | "exhausted"; readonly position: number }
  /** Withdrawn, unattended, already served, or of a host that this server does not own. */
  | { readonly kind: "gone" }
  | { readonly kind: "paused" }
  /** The repository has another upstream now: what is wanted is to be found there. */
  | { readonly kind: "moved" }
  /** A workspace would have to be made, and may not. */
  | { readonly kind: "no-room" }
  /** `held`: it waits for its own binding, and before nobody; `in-use`: it may not wait. */
  | { readonly kind: "held" | "in-use" }
  /** A place is being made for it: it goes on asking. */
  | { readonly kind: "evicting" }
  /** The binding's workspace is on that host. */
  | { readonly kind: "elsewhere"; readonly host: string };

export interface ActivateRequest {
  readonly ticketId: bigint;
  readonly key: LeaseKey;
  readonly commit: string;
  readonly head: string;
  readonly refsVersion: bigint;
  readonly source: Grant["source"];
  readonly fetchTime?: Date;
  readonly timings: readonly Timing[];
}

export interface Timing {
  readonly step: string;
  readonly ms: number;
}

/** A lease with all that Acquire answers. */
export interface Grant {
  readonly lease: Lease;
  readonly workspace: Workspace;
  readonly source: "WARM" | "REUSED" | "CREATED" | "BOUND";
  /** What the revision named. */
  readonly resolvedCommit: string;
  /** What is left of the binding's last workspace; empty: nothing was lost. */
  readonly lostSalvageId: string;
  readonly fetchTime?: Date;
  readonly timings: readonly Timing[];
  /** Unset where none were asked for. */
  readonly dependencies?: Dependencies;
}

/** A grant as its holder is told it. */
export function withDependencies(grant: Grant, dependencies: Dependencies): Grant {
  const { fingerprint, state, changedManifests, cachePath } = dependencies;
  const workspace = grant.lease.endTime ? grant.workspace : { ...grant.workspace, fingerprint };
  return { ...grant, workspace, dependencies: { fingerprint, state, changedManifests, cachePath } };
}

export type TicketOutcome =
  | {
      readonly kind: "pending";
      readonly state: "OPEN" | "WAITING" | "GRANTED";
      /** What an open one waits for, whether or not it may wait: a place that is made for it, or its own binding's work to be saved. */
      readonly awaits?: "place" | "binding";
    }
  | { readonly kind: "leased"; readonly grant: Grant }
  | { readonly kind: "failed"; readonly failure: FailureRecord }
  | { readonly kind: "gone" };

export interface Renewal extends LeaseKey {
  /** A new time to live, or undefined to keep the granted one. */
  readonly ttlMs?: number;
}

export type EndOutcome =
  | {
      readonly kind: "ended" | "already";
      readonly workspace: Workspace;
      readonly reason: LeaseEndReason;
      /** Somebody else has had the workspace since, or is about to: what it tells is theirs. */
      readonly passedOn: boolean;
    }
  /** A lease whose token is genuine is forgotten some time after its end, or by a restored database. */
  | { readonly kind: "unknown" };

export interface WorkspaceFilter {
  readonly repository?: string;
  readonly holder?: string;
  readonly host?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly binding?: string;
  /** URL of what the lease, or the last one of a parked workspace, is about. */
  readonly subject?: string;
  readonly workspaceId?: string;
  readonly leaseId?: string;
  readonly states?: readonly WorkspaceState[];
  /** Only workspaces that this caller leases, or that wait for a binding of its own, as parked ones do. */
  readonly caller?: string;
}

export interface WorkspacePage {
  readonly workspaces: readonly Workspace[];
  /** Newest revision, read in the same snapshot. */
  readonly revision: bigint;
}

export interface ReclaimSelector {
  readonly repository?: string;
  readonly host?: string;
  readonly olderThanMs?: number;
  readonly includeParked: boolean;
  readonly leaseIds: readonly string[];
  readonly workspaceIds: readonly string[];
  readonly dryRun: boolean;
}

export interface ResetSelector {
  readonly workspaceId?: string;
  readonly repository?: string;
  /** With `repository`. */
  readonly binding?: string;
  readonly expectedFence?: bigint;
  readonly force: boolean;
  readonly abandonWork: boolean;
}

export type VerificationStart =
  | { readonly kind: "begun"; readonly fence: bigint }
  /** It is not idle, or not there. */
  | { readonly kind: "leased" | "busy" | "quarantined" | "unknown" };

/** Acquire's side: any server. */
export interface TicketDesk {
  /** Opens a ticket, joins the one with the same request id, or finds that request's lease. Its place is by arrival. */
  open(request: OpenTicket): Promise<OpenedTicket>;
  /** What became of it; a pending ticket whose server has died is attended by this one from now on. */
  read(ticketId: bigint): Promise<TicketOutcome>;
  /**
   * This server's last caller of the ticket has gone, or its wait is `over`. Without a request id a ticket without a workspace
   * vanishes; otherwise its place is kept for 30 s, and whoever attends it elsewhere goes on. `position`: the one it had in
   * its line, 0 if it stood in none. `gone`: nothing more comes of it for that caller; of one whose wait is over and that has
   * come to something meanwhile it is false, and nothing has changed.
   */
  leave(ticketId: bigint, over: boolean): Promise<{ readonly position: number; readonly gone: boolean }>;
  /** Its position in its line, 0 if it stands in none. */
  position(ticketId: bigint): Promise<number>;
  /** An answer with the ticket's lease was written to a caller: `endUndelivered` leaves the lease alone from now on. */
  delivered(ticketId: bigint): Promise<void>;
  /** Releases the ticket's lease if there is one, nobody was told of it, and nobody asks for it. Answers whether it did. */
  endUndelivered(ticketId: bigint): Promise<boolean>;
}

/** Acquire's other side: the owner of the ticket's host. */
export interface TicketBoard {
  /** Tickets of the owned host that are attended and that `known` does not have, in their order. */
  pending(known: readonly bigint[]): Promise<readonly Ticket[]>;
  /** Gives an attended ticket a workspace if nobody waits before it, else its place in the queue. The workspace becomes PREPARING. */
  grant(request: GrantRequest): Promise<GrantOutcome>;
  /** The workspace is ready: mints the lease; its time to live begins. Undefined if the grant was lost or nobody attends any more. */
  activate(request: ActivateRequest): Promise<Grant | undefined>;
  /** Gives a granted workspace up. `IDLE`, or `PARKED`, if its files are as they were; `CLEANING` if they may not be; the ticket is open again. */
  giveBack(ticketId: bigint, key: LeaseKey, to: "IDLE" | "PARKED" | "CLEANING"): Promise<void>;
  fail(ticketId: bigint, failure: FailureRecord): Promise<void>;
}

export interface LeaseStore {
  /** Renews many leases at once; the answer has each one's, in their order: undefined where it has ended. */
  renew(renewals: readonly Renewal[]): Promise<readonly (Lease | undefined)[]>;
  /** Reads a lease, living or ended. */
  find(key: LeaseKey): Promise<Lease | undefined>;
  /** Ends a lease. What its holder left is salvaged before what follows destroys it; PARK, of a bound one, keeps it. */
  end(key: LeaseKey, reason: LeaseEndReason, disposition: Disposition): Promise<EndOutcome>;
  /** Ends overdue leases of the owned host, if this server has been well for their TTL. Answers how many. */
  expire(): Promise<number>;
}

/** Workspaces as operators see them. */
export interface WorkspacePool {
  /** Workspaces that are not retired, in the order of their ids, after the id `after`; with the newest revision of the same snapshot. */
  list(filter: WorkspaceFilter, after: string, limit: number): Promise<WorkspacePage>;
  /** A workspace in any state, with its live lease. */
  get(workspaceId: string): Promise<Workspace | undefined>;
  /** Takes an idle workspace out of the pool for its host's owner to verify; joins one that waits for that. `fence`: for `verification`. */
  beginVerification(workspaceId: string): Promise<VerificationStart>;
  /** What a verification that was begun found. `lost`: something else came in between. */
  verification(
    workspaceId: string,
    fence: bigint,
  ): Promise<{ readonly kind: "known"; readonly verification: Verification } | { readonly kind: "pending" | "lost" }>;
  reclaim(selector: ReclaimSelector): Promise<readonly WorkspaceResult[]>;
  reset(selector: ResetSelector): Promise<readonly WorkspaceResult[]>;
}
