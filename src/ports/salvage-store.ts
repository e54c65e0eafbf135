/**
 * The port to the store of salvages. Contract as in lease-store.ts, and
 * 1. A workspace's work may be destroyed only once `settle` has said so, under the claim that does the destroying.
 */
import type { LeaseKey } from "../domain/lease.js";
import type { Salvage, SavedWork, WorkLeft } from "../domain/salvage.js";

export interface SalvageFilter {
  readonly repository?: string;
  readonly host?: string;
  readonly holder?: string;
  readonly workspaceId?: string;
  readonly leaseId?: string;
  readonly salvageId?: string;
  /** Only what this caller's leases left. */
  readonly caller?: string;
}

export interface SalvagePage {
  readonly salvages: readonly Salvage[];
  /** Newest revision, read in the same snapshot. */
  readonly revision: bigint;
}

/** What became of the work that a lease left. */
export type WorkFate =
  | { readonly kind: "saved"; readonly salvage: Salvage }
  /** Nothing that exists nowhere else, abandoned, or its salvage has been removed since. */
  | { readonly kind: "none" }
  | { readonly kind: "pending" };

/** A salvage of the owned host whose files are to go. */
export interface SalvageRemoval {
  readonly salvageId: string;
  readonly repository: string;
  readonly ref: string;
}

export interface SalvageStore {
  /** Whose work the workspace holds. */
  workLeft(workspaceId: string): Promise<WorkLeft>;
  /**
   * The work of a claimed workspace was saved, or there is none (undefined): from now on it may be destroyed. Writes
   * SALVAGE_CREATED once. False if the claim was lost: then nothing may be.
   */
  settle(claim: LeaseKey, saved: SavedWork | undefined): Promise<boolean>;
  fateOf(lease: LeaseKey): Promise<WorkFate>;
  /** What was saved of the newest lease of each of these workspaces that is being cleaned. */
  ofCleaning(workspaceIds: readonly string[]): Promise<readonly Salvage[]>;
  find(salvageId: string): Promise<Salvage | undefined>;
  /** In the order of their ids, after the id `after`. */
  list(filter: SalvageFilter, after: string, limit: number): Promise<SalvagePage>;
  /** It is gone for every caller from now on. False if there is none. */
  discard(salvageId: string): Promise<boolean>;
  /** Marks those of the owned host whose time is over and which nobody waits for. Answers how many. */
  expire(): Promise<number>;
  /** Those of the owned host that were discarded or have expired, and which nobody waits for. */
  removals(limit: number): Promise<readonly SalvageRemoval[]>;
  /** The files are gone: forgets the row. */
  removed(salvageId: string): Promise<void>;
}
