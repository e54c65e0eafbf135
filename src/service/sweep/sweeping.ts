/**
 * Owns the sweep: at the start, every so often, and when an operator asks. Its rules are the database's (0021_sweeps.sql).
 *
 * Invariants:
 * 1. One at a time in the fleet. Who asks for one while one is under way gets that one's report; a dry run and a sweep wait for
 *    each other.
 * 2. A sweep asks each subject once, and a forge that gives no clear answer decides nothing.
 * 3. What fails on one entry is logged and counted, and the sweep goes on.
 * 4. Rows are dropped here; directories by the owner of their host, which looks after them when it learns of a sweep.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../../domain/failure.js";
import type { Subject } from "../../domain/subject.js";
import type { SweepReport } from "../../domain/sweep.js";
import type { Forges, SubjectAnswer } from "../../ports/forges.js";
import type { HostOwnership } from "../../ports/host-store.js";
import type { Logger } from "../../ports/logger.js";
import type { SweepCandidate, SweepLimits, SweepStore } from "../../ports/sweep-store.js";
import type { Wake } from "../../ports/wake.js";
import type { CallContext } from "../call.js";
import type { Keeper } from "../cleaning/keeper.js";
import { drainingFailure } from "../leases/attending.js";
import { SweepTally } from "./sweep-tally.js";
import type { Tidying } from "./tidying.js";

export interface SweepingDependencies {
  readonly store: SweepStore;
  readonly forges: Forges;
  readonly tidying: Pick<Tidying, "tidy">;
  readonly ownership: Pick<HostOwnership, "owner">;
  readonly keeper: Pick<Keeper, "expect">;
  readonly wake: Pick<Wake, "hint">;
  readonly limits: SweepLimits;
  /** Of closed sessions. */
  readonly retentionMs: number;
  readonly log: Logger;
}

export interface Swept {
  readonly report: SweepReport;
  /** It was under way before the call. */
  readonly joined: boolean;
}

/** What a forge said, and what the database made of it. */
interface Sighting {
  readonly state: SubjectAnswer["state"];
  readonly confirmed: boolean;
}

const keepEveryMs = 2_000;
const lookEveryMs = 250;
const atOnce = 4;

export class Sweeping {
  readonly #deps: SweepingDependencies;
  readonly #stopping = new AbortController();
  #own: { readonly dryRun: boolean; readonly swept: Promise<Swept> } | undefined;
  /** The sweep after which this host's directories were last looked after; undefined until one was learnt of. */
  #tidied: bigint | undefined;

  constructor(deps: SweepingDependencies) {
    this.#deps = deps;
  }

  /** Answers when it is over; it goes on without its caller. */
  async sweep(dryRun: boolean, call?: CallContext): Promise<Swept> {
    for (;;) {
      if (this.#stopping.signal.aborted) throw drainingFailure();
      const own = this.#own;
      if (own) {
        const swept = await unlessGone(own.swept, call);
        if (own.dryRun === dryRun) return { ...swept, joined: true };
        continue;
      }
      const swept = this.#sweepOrJoin(dryRun).finally(() => {
        this.#own = undefined;
      });
      this.#own = { dryRun, swept };
      return unlessGone(swept, call);
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#own?.swept.catch(() => {});
  }

  /** The owner of a host looks after its directories once for each sweep, whoever made that. */
  async tidyAfterOthers(): Promise<void> {
    const { store, ownership, tidying } = this.#deps;
    const last = ownership.owner && !this.#own ? await store.last() : undefined;
    const before = this.#tidied;
    if (last) this.#tidied = last.sweepId;
    if (!last || before === undefined || last.sweepId <= before) return;
    await tidying.tidy(false, () => {});
  }

  async #sweepOrJoin(dryRun: boolean): Promise<Swept> {
    const { store } = this.#deps;
    const { signal } = this.#stopping;
    for (;;) {
      const { kind, sweepId, dryRun: isDry } = await store.begin(dryRun);
      if (kind === "begun") return { report: await this.#run(sweepId, dryRun), joined: false };
      let outcome = await store.outcome(sweepId);
      while (!outcome) {
        await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
        if (signal.aborted) throw drainingFailure();
        outcome = await store.outcome(sweepId);
      }
      // it was another's: our directories are not looked after yet
      this.#tidied ??= 0n;
      if (isDry === dryRun && outcome.report) return { report: outcome.report, joined: true };
    }
  }

  async #run(sweepId: bigint, dryRun: boolean): Promise<SweepReport> {
    const { store, keeper, wake, retentionMs, log } = this.#deps;
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#stopping.signal]);
    const keeping = setInterval(() => {
      store.keep(sweepId).then(
        (isOurs) => isOurs || over.abort(),
        () => {}, // the database is away: asked again in a moment
      );
    }, keepEveryMs);
    const tally = new SweepTally();
    try {
      await this.#sweepRows(dryRun, tally, signal);
      if (this.#deps.ownership.owner && !signal.aborted) await this.#tidy(dryRun, tally);
      if (signal.aborted) throw new Failure("DRAINING", "the sweep was broken off", { retryAfterMs: 1_000 });
      const report = tally.report(dryRun);
      if (!dryRun) this.#tidied = sweepId;
      if (await store.finish(sweepId, report, retentionMs)) {
        const { counts } = report;
        log.info({ sweep: String(sweepId), ...counts, dryRun }, dryRun ? `dry run: ${report.summary}` : report.summary);
      }
      return report;
    } catch (error) {
      await store.finish(sweepId, undefined, retentionMs).catch(() => {});
      throw error;
    } finally {
      clearInterval(keeping);
      keeper.expect("work");
      wake.hint();
    }
  }

  async #sweepRows(dryRun: boolean, tally: SweepTally, signal: AbortSignal): Promise<void> {
    const { store, limits } = this.#deps;
    const candidates = await store.entries(limits);
    const unasked = candidates.filter((candidate) => !isAsked(candidate));
    await inTurns(unasked, signal, (candidate) => this.#judge(candidate, undefined, dryRun, tally));
    const forges = groupBy(candidates.filter(isAsked), ({ subject }) => subject?.forge ?? "");
    const bySubject = [...forges.values()].map((group) => groupBy(group, ({ subject }) => subject?.url ?? ""));
    await Promise.all(
      bySubject.map(async (subjects) => {
        for (const group of subjects.values()) {
          const subject = group[0]?.subject;
          if (!subject || signal.aborted) return;
          const sighting = await this.#sight(subject, dryRun, signal);
          await inTurns(group, signal, (candidate) => this.#judge(candidate, sighting, dryRun, tally));
        }
      }),
    );
  }

  /** Undefined: what was said could not be stored. */
  async #sight(subject: Subject, dryRun: boolean, signal: AbortSignal): Promise<Sighting | undefined> {
    const { store, forges, limits, log } = this.#deps;
    try {
      const { state, problem } = await forges.state(subject, signal);
      if (state === "UNKNOWN" && !signal.aborted) log.warn({ subject: subject.url, problem }, "a subject is unknown");
      if (state === "UNKNOWN" || dryRun) return { state, confirmed: false };
      return { state, confirmed: (await store.note(subject.url, state, limits.graceMs, false)) === "confirmed" };
    } catch (error) {
      log.warn({ err: error, subject: subject.url }, "a subject could not be swept");
      return undefined;
    }
  }

  /** `sighting`: of its subject; undefined where that was not asked, or could not be stored. */
  async #judge(
    candidate: SweepCandidate,
    sighting: Sighting | undefined,
    dryRun: boolean,
    tally: SweepTally,
  ): Promise<void> {
    const { kind, repository, subject } = candidate;
    const ids =
      candidate.kind === "SESSION"
        ? { sessionId: candidate.sessionId, workspaceId: candidate.workspaceId }
        : { sessionId: "", workspaceId: candidate.key.workspaceId };
    const entry = { kind, repository, subject: subject?.url ?? "", ...ids };
    try {
      if (isAsked(candidate) && !sighting) throw new Error("its subject could not be swept");
      if (sighting?.state === "UNKNOWN") return tally.add({ ...entry, outcome: "UNKNOWN" });
      const isClosed = sighting?.state === "CLOSED" || sighting?.state === "MERGED";
      const confirmed = isClosed && (dryRun ? candidate.ripe : sighting.confirmed);
      const reason = reasonFor(candidate, confirmed);
      if (!reason) return tally.add({ ...entry, outcome: isClosed ? "PENDING" : "ACTIVE" });
      if (dryRun) return tally.add({ ...entry, outcome: "DROPPED", reason });
      const dropped = await this.#drop(candidate, reason);
      if (dropped === "gone") return;
      if (dropped === "kept") return tally.add({ ...entry, outcome: isClosed ? "PENDING" : "ACTIVE" });
      tally.add({ ...entry, outcome: "DROPPED", reason, workspaceId: dropped.workspaceId });
    } catch (error) {
      this.#deps.log.warn({ err: error, ...ids }, "an entry could not be swept");
      tally.add({ ...entry, outcome: "FAILED" });
    }
  }

  async #drop(
    candidate: SweepCandidate,
    reason: "SUBJECT_CLOSED" | "MAX_AGE" | "ORPHANED",
  ): Promise<"gone" | "kept" | { readonly workspaceId: string }> {
    const { store, limits } = this.#deps;
    if (candidate.kind === "WORKSPACE") {
      const why = reason === "MAX_AGE" ? "parked for too long" : "nobody wants it any more";
      const { key } = candidate;
      return (await store.dropParked(key, false, why)) ? { workspaceId: key.workspaceId } : "kept";
    }
    const why = reason === "ORPHANED" ? "SUBJECT_CLOSED" : reason;
    const { kind, workspaceId } = await store.dropSession(candidate.sessionId, why, limits);
    if (kind === "dropped") return { workspaceId };
    return kind === "gone" ? "gone" : "kept";
  }

  async #tidy(dryRun: boolean, tally: SweepTally): Promise<void> {
    try {
      await this.#deps.tidying.tidy(dryRun, (found) => tally.add(found));
    } catch (error) {
      this.#deps.log.warn({ err: error }, "the directories could not be swept");
      tally.add({ kind: "DIRECTORY", outcome: "FAILED", detail: "the directories could not be read" });
    }
  }
}

/** Whether its forge has a say. */
function isAsked({ due, subject }: SweepCandidate): boolean {
  return subject !== undefined && due !== "MAX_AGE";
}

/** `confirmed`: its subject is closed, and was seen so for long enough. Undefined: it stays. */
function reasonFor(
  candidate: SweepCandidate,
  confirmed: boolean,
): "SUBJECT_CLOSED" | "MAX_AGE" | "ORPHANED" | undefined {
  if (candidate.due === "MAX_AGE") return "MAX_AGE";
  if (candidate.kind === "SESSION") return confirmed ? "SUBJECT_CLOSED" : undefined;
  return candidate.due === "ORPHANED" && (confirmed || !isAsked(candidate)) ? "ORPHANED" : undefined;
}

/** A caller that has gone does not end what it waits for. */
function unlessGone(swept: Promise<Swept>, call: CallContext | undefined): Promise<Swept> {
  const { signal } = call ?? {};
  if (!signal) return swept;
  return new Promise((resolve, reject) => {
    const gone = () => reject(new Failure("CANCELLED", "the caller has gone; the sweep goes on"));
    signal.addEventListener("abort", gone, { once: true });
    swept.then(resolve, reject).finally(() => signal.removeEventListener("abort", gone));
    if (signal.aborted) gone();
  });
}

async function inTurns<T>(items: readonly T[], signal: AbortSignal, action: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  const work = async () => {
    for (const item of left) {
      if (signal.aborted) return;
      await action(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, work));
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}
