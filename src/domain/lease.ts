/**
 * Owns what a lease is, its name, and the bounds of its time to live.
 *
 * Invariants:
 * 1. A lease is identified by (workspace, fence) and named `<workspace>.<fence>`.
 * 2. It ends once, for one of `leaseEndReasons`.
 */

import type { Subject } from "./subject.js";

export const leaseEndReasons = [
  "RELEASED",
  "PARKED",
  "EXPIRED",
  "RECLAIMED",
  "RESET",
  "FORGE_CLOSED",
  "FAILED",
] as const;
export type LeaseEndReason = (typeof leaseEndReasons)[number];

/** Identifies a lease. */
export interface LeaseKey {
  readonly workspaceId: string;
  readonly fence: bigint;
}

export interface Lease extends LeaseKey {
  readonly repository: string;
  readonly host: string;
  readonly revision: string;
  readonly commit: string;
  readonly holder: string;
  readonly caller: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly acquireTime: Date;
  readonly expireTime: Date;
  /** Milliseconds until `expireTime` when it was read from the database; 0 for an ended lease. */
  readonly remainingMs: number;
  readonly ttlMs: number;
  readonly endTime?: Date;
  readonly endReason?: LeaseEndReason;
  /** The caller's key that it was acquired with; empty without one. */
  readonly binding: string;
  /** What it is about. */
  readonly subject?: Subject;
}

export function leaseId(key: LeaseKey): string {
  return `${key.workspaceId}.${key.fence}`;
}

/** Parses `w17.4`; undefined if it is nothing that `leaseId` could have made. */
export function parseLeaseId(text: string): LeaseKey | undefined {
  const match = /^(w[1-9]\d{0,17})\.([1-9]\d{0,17})$/.exec(text);
  return match ? { workspaceId: match[1] as string, fence: BigInt(match[2] as string) } : undefined;
}

/** Bounds of a lease's time to live, in milliseconds. */
export interface TtlBounds {
  readonly min: number;
  readonly max: number;
  readonly default: number;
}

/** The time to live that is granted for what was asked; undefined asks for the default. */
export function grantTtl(askedMs: number | undefined, bounds: TtlBounds): number {
  if (askedMs === undefined) return bounds.default;
  return Math.min(Math.max(askedMs, bounds.min), bounds.max);
}
