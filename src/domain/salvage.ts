/**
 * Owns what a salvage is: work of a holder that existed nowhere else, saved before its workspace was cleaned or removed.
 *
 * Invariants:
 * 1. It is named after the lease that left it, `s17.4` after `w17.4`: saving again after a crash is the same salvage.
 * 2. It outlives its workspace, its repository and its host.
 */
import { type LeaseEndReason, type LeaseKey, leaseId } from "./lease.js";

/** How long a salvage is kept unless its repository says otherwise. */
export const defaultSalvageTtlMs = 14 * 24 * 3_600_000;

/** What git made of the work. */
export interface SavedWork {
  /** Absolute path, on the host, of the bare repository that has it. */
  readonly repositoryPath: string;
  readonly ref: string;
  readonly commit: string;
  readonly files: number;
  readonly commits: number;
  readonly bytes: number;
  /** In words, what could not be saved since the holder's `.git` was damaged. */
  readonly incomplete: readonly string[];
}

/** Whose work a workspace holds: the newest lease of it. */
export interface WorkLeft {
  readonly salvageId: string;
  /** Empty where the lease was forgotten, and so are holder and caller. */
  readonly leaseId: string;
  readonly holder: string;
  readonly caller: string;
  readonly reason?: LeaseEndReason;
}

export interface Salvage extends SavedWork, WorkLeft {
  readonly repository: string;
  readonly host: string;
  readonly workspaceId: string;
  /** The commit that the lease was given. */
  readonly baseCommit: string;
  readonly createTime: Date;
  readonly expireTime: Date;
}

/** The ref that has it, in the repository of salvages. */
export function salvageRef(salvageId: string): string {
  return `refs/leasehold/salvage/${salvageId}`;
}

/** The id of what a lease left. */
export function salvageIdOf(key: LeaseKey): string {
  return `s${leaseId(key).slice(1)}`;
}
