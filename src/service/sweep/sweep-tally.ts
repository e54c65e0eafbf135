/** Owns the counting of what a sweep does, and the report that comes of it. */
import { mostEntries, type SweepCounts, type SweepEntry, type SweepReport, summaryOf } from "../../domain/sweep.js";

export class SweepTally {
  readonly #entries: SweepEntry[] = [];
  readonly #startTime = new Date();
  readonly #counts = { sessions: 0, worktrees: 0, cacheClones: 0, active: 0, unknown: 0, errors: 0 };
  #leftOut = 0;

  add(entry: Pick<SweepEntry, "kind" | "outcome"> & Partial<SweepEntry>): void {
    this.#count(entry);
    if (entry.outcome === "ACTIVE") return;
    const whole = { reason: "", sessionId: "", workspaceId: "", repository: "", subject: "", detail: "", ...entry };
    if (this.#entries.length < mostEntries) this.#entries.push(whole as SweepEntry);
    else this.#leftOut++;
  }

  report(dryRun: boolean): SweepReport {
    const counts: SweepCounts = { ...this.#counts };
    return {
      dryRun,
      startTime: this.#startTime,
      endTime: new Date(),
      counts,
      summary: summaryOf(counts),
      entries: this.#entries,
      leftOut: this.#leftOut,
    };
  }

  #count({ kind, outcome, workspaceId = "" }: Pick<SweepEntry, "kind" | "outcome"> & Partial<SweepEntry>): void {
    const counts = this.#counts;
    if (outcome === "ACTIVE" || outcome === "PENDING") counts.active++;
    else if (outcome === "UNKNOWN") counts.unknown++;
    else if (outcome === "FAILED") counts.errors++;
    else if (outcome === "FOREIGN") return;
    else if (kind === "MIRROR") counts.cacheClones++;
    else if (kind === "SESSION") {
      counts.sessions++;
      if (workspaceId !== "") counts.worktrees++;
    } else counts.worktrees++;
  }
}
