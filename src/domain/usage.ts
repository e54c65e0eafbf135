/**
 * Owns what is told of bytes on disks.
 *
 * Bytes are of blocks, as `du` counts them. What has several names inside one place counts once there; what a workspace or
 * a repository of salvages shares with its mirror by hard links counts at the mirror.
 */
import type { WorkspaceState } from "./workspace.js";

/** Places that are measured besides workspaces. `OTHER`: what is being staged, trusted indexes. */
export type PlaceKind = "MIRROR" | "SALVAGES" | "DEPENDENCIES" | "SUBMODULES" | "TRASH" | "OTHER";

export interface PlaceSize {
  readonly kind: PlaceKind;
  /** Empty where it is of no single one. */
  readonly repository: string;
  readonly bytes: number;
}

/** The room on a host's disk; of several file systems, on the one that has least in proportion to its marks. */
export interface DiskRoom {
  readonly totalBytes: number;
  /** What the server's user may still write. */
  readonly freeBytes: number;
  /** Below it the owner makes room. */
  readonly lowBytes: number;
  /** Below it nothing new is made. */
  readonly minFreeBytes: number;
}

export interface WorkspaceSize {
  readonly workspaceId: string;
  readonly state: WorkspaceState;
  readonly bytes: number;
  readonly measureTime: Date;
}

export interface RepositoryUsage {
  readonly repository: string;
  readonly mirrorBytes: number;
  readonly workspaceBytes: number;
  readonly salvageBytes: number;
  readonly dependencyBytes: number;
  readonly workspaces: number;
  /** Workspaces that were not measured yet. */
  readonly unmeasured: number;
  /** Of the oldest number. */
  readonly measureTime?: Date;
  /** The largest first; empty unless asked for. */
  readonly sizes: readonly WorkspaceSize[];
}

export interface HostUsage {
  readonly host: string;
  /** Unset until the host's owner has looked. */
  readonly disk?: DiskRoom & { readonly low: boolean; readonly reserveBytes: number; readonly checkTime: Date };
  readonly repositories: readonly RepositoryUsage[];
  readonly submoduleBytes: number;
  readonly trashBytes: number;
  readonly otherBytes: number;
  readonly measureTime?: Date;
}

export function totalOf(usage: RepositoryUsage): number {
  return usage.mirrorBytes + usage.workspaceBytes + usage.salvageBytes + usage.dependencyBytes;
}
