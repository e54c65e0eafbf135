/**
 * Owns when what the sweep owns happens by itself: a sweep at the start and then every interval of the fleet, re-checks of subjects that
 * were seen closed, idle workspaces that have been idle for too long.
 *
 * Invariant: a step that fails is logged and comes again; it stops nothing else.
 */
import type { HostOwnership } from "../../ports/host-store.js";
import type { Logger } from "../../ports/logger.js";
import type { SweepStore } from "../../ports/sweep-store.js";
import type { Wake } from "../../ports/wake.js";
import type { Keeper } from "../cleaning/keeper.js";
import type { SubjectDrops } from "./subject-drops.js";
import type { Sweeping } from "./sweeping.js";

export interface SweepClockDependencies {
  readonly store: SweepStore;
  readonly sweeping: Sweeping;
  readonly drops: SubjectDrops;
  readonly ownership: HostOwnership;
  readonly keeper: Keeper;
  readonly wake: Wake;
  /** 0: no sweep by itself. */
  readonly intervalMs: number;
  readonly log: Logger;
}

const beatMs = 1_000;
const houseEvery = 5;
const retiredAtOnce = 100;
const retryMs = 60_000;

export class SweepClock {
  readonly #deps: SweepClockDependencies;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #beats = 0;
  #beating: Promise<void> | undefined;
  /** `performance.now()` before which no sweep is due. */
  #next = Number.POSITIVE_INFINITY;

  constructor(deps: SweepClockDependencies) {
    this.#deps = deps;
  }

  start(): void {
    if (this.#deps.intervalMs > 0) this.#sweep();
    this.#timer = setInterval(() => {
      this.#beating ??= this.#beat().finally(() => {
        this.#beating = undefined;
      });
    }, beatMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopping.abort();
    await Promise.all([this.#beating, this.#deps.sweeping.stop()]);
  }

  /** Behind; the next one is looked for when it is over. */
  #sweep(): void {
    this.#next = Number.POSITIVE_INFINITY;
    this.#deps.sweeping.sweep(false).then(
      () => {
        this.#next = performance.now();
      },
      (error) => {
        if (this.#stopping.signal.aborted) return;
        this.#deps.log.warn({ err: error }, "could not sweep");
        this.#next = performance.now() + retryMs;
      },
    );
  }

  async #beat(): Promise<void> {
    const { drops, ownership, sweeping, store, keeper, wake } = this.#deps;
    await this.#step("ask closed subjects again", () => drops.recheck(this.#stopping.signal));
    if (performance.now() >= this.#next) await this.#step("look for the next sweep", () => this.#sweepIfDue());
    this.#beats++;
    if (this.#beats % houseEvery !== 0) return;
    await this.#step("tidy after a sweep", () => sweeping.tidyAfterOthers());
    if (!ownership.owner) return;
    await this.#step("retire idle workspaces", async () => {
      if ((await store.retireIdle(retiredAtOnce)) === 0) return;
      keeper.expect("work");
      wake.hint();
    });
  }

  /** The fleet has one interval, whichever server swept last. */
  async #sweepIfDue(): Promise<void> {
    const { store, intervalMs } = this.#deps;
    const last = await store.last();
    const leftMs = last ? intervalMs - last.startedMsAgo : 0;
    if (leftMs <= 0) this.#sweep();
    else this.#next = performance.now() + leftMs;
  }

  async #step(what: string, action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.#deps.log.warn({ err: error }, `could not ${what}`);
    }
  }
}
