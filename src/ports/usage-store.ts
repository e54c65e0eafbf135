/** The port to what is known of bytes on hosts' disks. Contract as in lease-store.ts. */
import type { DiskRoom, HostUsage, PlaceSize } from "../domain/usage.js";

/** A workspace of the owned host that is to be measured. */
export interface DueSize {
  readonly workspaceId: string;
  readonly version: bigint;
  readonly path: string;
  readonly repository: string;
}

export interface UsageStore {
  /**
   * Workspaces of the owned host to measure next: never measured, changed for `settleMs` since they were, or leased and
   * measured more than `freshMs` ago.
   */
  due(settleMs: number, freshMs: number, limit: number): Promise<readonly DueSize[]>;
  /** Stores a size, unless the workspace has changed since it was due. */
  storeSize(due: DueSize, bytes: number): Promise<void>;
  storePlace(place: PlaceSize): Promise<void>;
  /** Names of repositories that have a mirror, and salvages, on the owned host. Sizes of others are forgotten. */
  places(): Promise<{ readonly mirrors: readonly string[]; readonly salvages: readonly string[] }>;
  /** Commits that a repository's workspaces, leases and salvages on the owned host are at or began at. */
  commits(repository: string): Promise<readonly string[]>;
  /** What a workspace of each repository takes on the owned host, by the repository's id: the largest idle one, else the smallest of all, else the mirror. */
  largest(): Promise<ReadonlyMap<number, number>>;
  /** Gives workspaces of the owned host to be removed, until their sizes add up; idle ones that min_idle does not keep, or parked ones. */
  evict(state: "IDLE" | "PARKED", bytes: number, limit: number): Promise<readonly string[]>;
  /** Cache paths of living leases on the owned host. */
  cachesInUse(): Promise<readonly string[]>;
  /** Stores what the owner saw of its disk, with DISK_LOW and DISK_RECOVERED. Answers whether it is low. */
  noteDisk(room: DiskRoom, reserveBytes: number, recoverBytes: number): Promise<boolean>;
  /** What is on a host, or on all of them. `sizes`: how many workspaces of each host are told one by one. */
  usage(host: string, sizes: number): Promise<readonly HostUsage[]>;
}
