/**
 * The port to the file work that is due on the owned host: what to make, clean and remove.
 *
 * Contract: as in lease-store.ts, and
 * 1. A path is stored before the first byte is written to it.
 * 2. Work is claimed with a new fence; a result with an older fence is refused.
 */
import type { LeaseKey } from "../domain/lease.js";
import type { Verification } from "../domain/verification.js";

/** One workspace that needs file work, claimed by this server. */
export interface Work {
  readonly key: LeaseKey;
  readonly repositoryId: number;
  /** `make`: a new one; `clean`: after a lease, a reset, or a crash; `verify`: an
   * operator wants an idle one to be looked at; `remove`: its directory is to go. */
  readonly kind: "make" | "clean" | "verify" | "remove";
  /** Where the result is to be. */
  readonly path: string;
  /** Where files may be now, newest first. */
  readonly candidates: readonly string[];
  /** The commit that the trusted index is of. */
  readonly from: string;
  /** The ref that HEAD was put at with it, or empty. */
  readonly head: string;
  /** When the newest lease of it began, in ms since the epoch; unset if it never had one. */
  readonly leaseTimeMs?: number;
  /** It may hold work of a holder, which has to be salvaged before anything destroys it. */
  readonly guardWork: boolean;
  /** How often it was begun, this time included. */
  readonly attempt: number;
  /** How often in a row it has failed. What was only broken off does not count, nor what the disk had no room for. */
  readonly failures: number;
}

export type WorkResult =
  /** Its files have been verified. */
  | { readonly kind: "idle"; readonly commit: string; readonly head: string; readonly refsVersion: bigint }
  /** Of `verify`: with findings it is cleaned from scratch next. */
  | { readonly kind: "verified"; readonly verification: Verification }
  | { readonly kind: "retired" }
  | { readonly kind: "quarantined"; readonly path: string; readonly problem: string }
  /** Try again later; what fails five times in a row is quarantined. `lacksRoom`: the disk is full; it is tried as often as it takes, and what holds no work is removed instead. */
  | { readonly kind: "failed"; readonly problem: string; readonly lacksRoom?: boolean };

export interface WorkspaceStore {
  /**
   * Claims work that is due: cleaning, removing, and what a dead owner left half done, whose tickets are open again.
   * `known`: what this process is doing.
   */
  claimWork(known: readonly LeaseKey[], workspaceRoot: string, limit: number): Promise<readonly Work[]>;
  /** Makes the rows of workspaces that are missing for `min_idle`, and claims their making. */
  claimMissingIdle(workspaceRoot: string, limit: number): Promise<readonly Work[]>;
  /** Gives an idle workspace that is at another commit to cleaning; undefined if none is to be moved now. */
  moveIdle(repositoryId: number, commit: string): Promise<string | undefined>;
  /** Processes still use the workspace that is being cleaned: writes STRAGGLERS_FOUND. */
  reportStragglers(key: LeaseKey, detail: string): Promise<void>;
  /** Stores a result. False if the claim was lost: then the result means nothing. */
  finishWork(key: LeaseKey, result: WorkResult): Promise<boolean>;
  /** Of these paths, those of workspaces of the owned host that no longer are, or never became, what the row says. A path that
   * belongs to no row at all, or whose row says that nobody has salvaged it, is not among them: it may be somebody's work. */
  leftovers(paths: readonly string[]): Promise<readonly string[]>;
  /** Forgets unattended tickets, old request ids, old leases and the rows of the dead. Any server, one at a time. */
  keepHouse(retentionMs: number): Promise<void>;
}
