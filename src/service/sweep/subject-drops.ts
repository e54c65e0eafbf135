/**
 * Owns what follows from a subject's being closed, however that was learnt: by a webhook, or by the re-check that a webhook's sighting
 * calls for when the grace is over. The sweep does the same by itself.
 *
 * Invariants:
 * 1. A sighting is stored before anything follows from it. What is cut off then is done by the next sighting.
 * 2. A session is dropped only by its second sighting, the grace apart; the database compares that again as it drops it.
 * 3. What a forge did not answer clearly decides nothing.
 */
import type { Subject } from "../../domain/subject.js";
import type { Forges } from "../../ports/forges.js";
import type { Logger } from "../../ports/logger.js";
import type { SweepLimits, SweepStore } from "../../ports/sweep-store.js";
import type { Wake } from "../../ports/wake.js";
import type { Keeper } from "../cleaning/keeper.js";
import type { SubjectReports } from "./subject-reports.js";

export interface SubjectDropsDependencies {
  readonly store: SweepStore;
  readonly forges: Forges;
  readonly limits: SweepLimits;
  readonly keeper: Keeper;
  readonly wake: Wake;
  readonly log: Logger;
}

const recheckedAtOnce = 20;

export class SubjectDrops implements SubjectReports {
  readonly #deps: SubjectDropsDependencies;

  constructor(deps: SubjectDropsDependencies) {
    this.#deps = deps;
  }

  async note(subjectUrl: string, state: "OPEN" | "CLOSED" | "MERGED"): Promise<void> {
    const { store, limits } = this.#deps;
    if ((await store.note(subjectUrl, state, limits.graceMs, true)) === "confirmed") await this.#drop(subjectUrl);
  }

  async branchDeleted(repository: string, branch: string): Promise<void> {
    const { store, log } = this.#deps;
    let dropped = 0;
    for (const { key, subject } of await store.parkedOfBranch(repository, branch)) {
      if (subject && !(await this.#isClosed(subject))) continue;
      if (await store.dropParked(key, true, `branch ${branch} was deleted`)) dropped++;
    }
    if (dropped === 0) return;
    log.info({ repository, branch, workspaces: dropped }, "parked workspaces of a deleted branch are given up");
    this.#workIsDue();
  }

  /** Asks once more about those that were seen closed and whose grace is over. */
  async recheck(signal: AbortSignal): Promise<void> {
    const { store, forges, limits, log } = this.#deps;
    for (const subject of await store.claimRechecks(limits.graceMs, recheckedAtOnce)) {
      const { state, problem } = await forges.state(subject, signal);
      if (signal.aborted) return;
      if (state === "UNKNOWN") log.warn({ subject: subject.url, problem }, "a closed subject could not be asked again");
      else await this.note(subject.url, state);
    }
  }

  /** UNKNOWN counts as not closed. */
  async #isClosed(subject: Subject): Promise<boolean> {
    const { state } = await this.#deps.forges.state(subject);
    return state === "CLOSED" || state === "MERGED";
  }

  async #drop(url: string): Promise<void> {
    const { store, limits, log } = this.#deps;
    for (const session of await store.sessionsAbout(url)) {
      try {
        const { kind, workspaceId } = await store.dropSession(session, "SUBJECT_CLOSED", limits);
        if (kind === "dropped") log.info({ session, workspace: workspaceId, subject: url }, "session dropped");
      } catch (error) {
        // the next sighting, at the latest the next sweep's, does it
        log.warn({ err: error, session, subject: url }, "a session could not be dropped");
      }
    }
    this.#workIsDue();
  }

  #workIsDue(): void {
    this.#deps.keeper.expect("work");
    this.#deps.wake.hint();
  }
}
