/**
 * The port to what the store knows of leases' dependencies. Contract as in lease-store.ts, and
 * 1. Files are moved only under a claim that the store has just confirmed.
 */
import type { LeaseDependencies } from "../domain/dependencies.js";
import type { LeaseKey } from "../domain/lease.js";

/** A lease with its dependencies, as the owner of its host needs it. */
export interface DependentLease {
  readonly key: LeaseKey;
  readonly caller: string;
  readonly commit: string;
  readonly dependencies: LeaseDependencies;
}

export interface DependencyStore {
  /** Stores what the lease that is being prepared under this claim will have. False if the claim was lost. */
  offer(claim: LeaseKey, dependencies: LeaseDependencies): Promise<boolean>;
  /** A living lease that has dependencies, with its workspace. */
  living(
    lease: LeaseKey,
  ): Promise<
    (DependentLease & { readonly path: string; readonly host: string; readonly repositoryId: number }) | undefined
  >;
  /** The dependencies of a living lease were installed. */
  markInstalled(lease: LeaseKey): Promise<void>;
  /**
   * The newest lease of a workspace that is being cleaned under this claim, if what it installed may be kept: it was
   * marked, ended by itself and not by Reset, and nothing was settled yet.
   */
  beginKeeping(claim: LeaseKey): Promise<DependentLease | undefined>;
  /** Nothing (more) is kept of the workspace's newest lease. */
  settle(claim: LeaseKey): Promise<void>;
  /** Ids of leases of the owned host whose files may be on their way in or out. */
  pending(): Promise<readonly string[]>;
  /** Cache paths of living leases of a repository on the owned host. */
  cachesInUse(repositoryId: number): Promise<readonly string[]>;
}
