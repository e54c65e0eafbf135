/**
 * Owns the states of a workspace and the only table of legal transitions between them.
 *
 * Invariants (enforced again by the database, see the migrations):
 * 1. A workspace changes its state only along `transitions`.
 * 2. `version` rises by one at every change of state, and at no other; `fence` rises with every change of who may work on
 *    its files, and never falls.
 * 3. Only a LEASED workspace has a live lease, and it has exactly one.
 */
import type { Lease } from "./lease.js";
import type { Salvage } from "./salvage.js";

export const workspaceStates = ["PREPARING", "IDLE", "LEASED", "CLEANING", "PARKED", "QUARANTINED", "RETIRED"] as const;
export type WorkspaceState = (typeof workspaceStates)[number];

/** From each state to those that may follow it. DESIGN.md draws this table and tells what a crash leaves in each. */
export const transitions: Readonly<Record<WorkspaceState, readonly WorkspaceState[]>> = {
  // made, or idle and granted to an Acquire that still moves it; CLEANING when its owner died or its files failed
  PREPARING: ["IDLE", "LEASED", "CLEANING", "PARKED", "QUARANTINED", "RETIRED"],
  IDLE: ["PREPARING", "CLEANING", "RETIRED"],
  LEASED: ["CLEANING", "PARKED"],
  // its files wait for its binding, which nobody else gets
  PARKED: ["PREPARING", "CLEANING", "RETIRED"],
  CLEANING: ["IDLE", "QUARANTINED", "RETIRED"],
  QUARANTINED: ["CLEANING", "RETIRED"],
  RETIRED: [],
};

export interface Workspace {
  /** `w` and a number, for instance `w17`. */
  readonly id: string;
  readonly repository: string;
  readonly host: string;
  /** Absolute path of the directory on `host`. */
  readonly path: string;
  readonly state: WorkspaceState;
  readonly version: bigint;
  readonly fence: bigint;
  /** Full id of the commit checked out by us; empty before the first checkout or without commits. */
  readonly commit: string;
  /** Full ref that HEAD points to (`refs/heads/main`), or empty if detached. */
  readonly head: string;
  readonly problem: string;
  readonly createTime: Date;
  /** Since when it has been idle or parked. */
  readonly idleTime?: Date;
  /** When it was last proven pristine; unset while its files are, or may have been, in a holder's hands since. */
  readonly verifyTime?: Date;
  /** Of the dependencies of its live lease; unset or empty where it asked for none. */
  readonly fingerprint?: string;
  readonly lease?: Lease;
  /** What its files take; unset until they were measured, and in answers that are not about that. */
  readonly size?: { readonly bytes: number; readonly measureTime: Date };
  /** The key of a caller that it comes back to; empty without one. */
  readonly binding: string;
}

/** What becomes of a workspace's files once its lease has ended. */
export type Disposition = "CLEAN" | "DISCARD" | "PARK";

/** Per-workspace answer of Reclaim and Reset. */
export interface WorkspaceResult {
  readonly workspaceId: string;
  readonly workspace?: Workspace;
  readonly action: "NONE" | "REMOVED" | "LEASE_ENDED" | "RESET";
  /** Why nothing was done: a FailureReason; empty where something was. */
  readonly reason: string;
  /** What was saved of it, where that is known already. */
  readonly salvage?: Salvage;
}
