/**
 * The port to the log of events.
 *
 * Contract: revisions are consecutive, in commit order per workspace, and never change once read.
 */
import type { Event } from "../domain/event.js";

export interface EventBounds {
  /** Oldest revision that is kept; newest + 1 while there is none. */
  readonly oldest: bigint;
  /** Newest revision, 0 if there never was one. */
  readonly newest: bigint;
}

export interface EventLog {
  /** Numbers what was written since, and answers the bounds. */
  publish(): Promise<EventBounds>;
  /** Events from `revision` on, inclusive, at most `limit`, in order. */
  read(revision: bigint, limit: number): Promise<readonly Event[]>;
  /** Forgets events that are older than the retention. Answers how many. */
  trim(retentionMs: number): Promise<number>;
}
