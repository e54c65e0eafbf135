/**
 * Owns what a sweep reports: what it dropped, what it left and why, and the line that says so.
 */
import type { SessionCloseReason } from "./session.js";

export type SweepEntryKind = "SESSION" | "WORKSPACE" | "DIRECTORY" | "MIRROR";
export type SweepOutcome =
  /** It went, or in a dry run would have gone. */
  | "DROPPED"
  /** Its subject was seen closed, not yet twice: it goes when the grace is over, unless the subject is opened again. */
  | "PENDING"
  | "ACTIVE"
  /** Its forge gave no clear answer. */
  | "UNKNOWN"
  /** No directory of ours: nothing was done about it. */
  | "FOREIGN"
  | "FAILED";

/** What came of one thing that the sweep looked at. */
export interface SweepEntry {
  readonly kind: SweepEntryKind;
  readonly outcome: SweepOutcome;
  /** Why it was dropped; empty otherwise. */
  readonly reason: "" | Extract<SessionCloseReason, "SUBJECT_CLOSED" | "MAX_AGE"> | "ORPHANED" | "NO_ROW";
  readonly sessionId: string;
  /** The workspace that went with it, or that it is; empty for none. */
  readonly workspaceId: string;
  readonly repository: string;
  /** URL; empty for none. */
  readonly subject: string;
  /** In words: a problem, a directory's name below its root. */
  readonly detail: string;
}

export interface SweepCounts {
  readonly sessions: number;
  readonly worktrees: number;
  readonly cacheClones: number;
  readonly active: number;
  readonly unknown: number;
  readonly errors: number;
}

export interface SweepReport {
  readonly dryRun: boolean;
  readonly startTime: Date;
  readonly endTime: Date;
  readonly counts: SweepCounts;
  readonly summary: string;
  /** What is merely active is only counted. At most `mostEntries`. */
  readonly entries: readonly SweepEntry[];
  /** How many more there were. */
  readonly leftOut: number;
}

export const mostEntries = 1_000;

/** The words are fixed: people and programs look for them. */
export function summaryOf({ sessions, worktrees, cacheClones, active, unknown, errors }: SweepCounts): string {
  const swept = `swept: ${sessions} sessions, ${worktrees} worktrees, ${cacheClones} cache clones`;
  return `${swept}; skipped: ${active} (still active), ${unknown} (unknown), ${errors} (errors)`;
}
