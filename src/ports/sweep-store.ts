/**
 * The port to what a sweep looks at and drops. Contract as in lease-store.ts, and
 * 1. One sweep at a time in the fleet: `begin` finds the one that is under way, on whichever server.
 * 2. What is dropped is judged again in the transaction that drops it: what has changed since `entries` is left alone.
 */
import type { LeaseKey } from "../domain/lease.js";
import type { Subject } from "../domain/subject.js";
import type { SweepReport } from "../domain/sweep.js";

/** In milliseconds. */
export interface SweepLimits {
  /** At least so much is between the two sightings of a closed subject. */
  readonly graceMs: number;
  readonly maxAgeMs: number;
  /** How long a parked workspace stays that nobody wants. */
  readonly orphanAgeMs: number;
}

/** An open session, or a parked workspace without one. */
export type SweepCandidate = {
  readonly repository: string;
  readonly subject?: Subject;
  /** It goes if its subject does not stand against it: MAX_AGE whatever its forge says; empty: for its subject alone. */
  readonly due: "" | "MAX_AGE" | "ORPHANED";
  /** If its subject is seen closed now, that is the second time. */
  readonly ripe: boolean;
} /** `workspaceId`: what would go with it; empty for none. */ & (
  | { readonly kind: "SESSION"; readonly sessionId: string; readonly workspaceId: string }
  | { readonly kind: "WORKSPACE"; readonly key: LeaseKey }
);

/** A directory that has the form of a workspace's. */
export interface FoundDirectory {
  readonly path: string;
  readonly repository: string;
  readonly key: LeaseKey;
  /** Something that only this service writes says that it is ours. */
  readonly marked: boolean;
}

export interface SweepStore {
  /** `dryRun`: of the one that is running. */
  begin(
    dryRun: boolean,
  ): Promise<{ readonly kind: "begun" | "running"; readonly sweepId: bigint; readonly dryRun: boolean }>;
  /** Says that it goes on. False: it is over for the fleet, another may have begun. */
  keep(sweepId: bigint): Promise<boolean>;
  /** Stores what came of it, with SWEEP_FINISHED unless it was a dry run; undefined: it was broken off. */
  finish(sweepId: bigint, report: SweepReport | undefined, retentionMs: number): Promise<boolean>;
  /** Undefined while it runs. Without a report it was broken off. */
  outcome(sweepId: bigint): Promise<{ readonly report?: SweepReport } | undefined>;
  /** The newest that was finished, without dry runs; its report without entries. */
  last(): Promise<
    { readonly sweepId: bigint; readonly report: SweepReport; readonly startedMsAgo: number } | undefined
  >;
  entries(limits: SweepLimits): Promise<readonly SweepCandidate[]>;
  /** Stores a sighting; `recheck`: one that is to be looked at again when the grace is over. `confirmed`: it was seen closed twice,
   * the grace apart. `nobody`: nothing is about it. */
  note(
    url: string,
    state: "OPEN" | "CLOSED" | "MERGED",
    graceMs: number,
    recheck: boolean,
  ): Promise<"open" | "seen" | "confirmed" | "nobody">;
  /** Open sessions. */
  sessionsAbout(url: string): Promise<readonly string[]>;
  /** Subjects that were noted closed with `recheck` and are to be asked again now; none while a sweep asks all. A subject is given to one server. */
  claimRechecks(graceMs: number, limit: number): Promise<readonly Subject[]>;
  /** `kept`: nothing stands against it (any more); `live`: its lease lives; `busy`: one is beginning. */
  dropSession(
    sessionId: string,
    reason: "SUBJECT_CLOSED" | "MAX_AGE",
    limits: SweepLimits,
  ): Promise<{ readonly kind: "dropped" | "gone" | "kept" | "live" | "busy"; readonly workspaceId: string }>;
  /** False: it was touched since, or has an open session, unless `any`. */
  dropParked(key: LeaseKey, any: boolean, why: string): Promise<boolean>;
  parkedOfBranch(repository: string, branch: string): Promise<readonly { key: LeaseKey; subject?: Subject }[]>;
  /** Idle workspaces of the owned host beyond their repository's `idle_ttl`. Answers how many go. */
  retireIdle(limit: number): Promise<number>;
  /** A directory of the owned host: `adopted` ones have a row again, and are salvaged and removed like any other. */
  adopt(directory: FoundDirectory): Promise<"known" | "adopted" | "foreign">;
}
