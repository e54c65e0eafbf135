/** Owns the making of all that sweeps, and its start and stop. */
import { SubjectDrops } from "./subject-drops.js";
import { SweepClock, type SweepClockDependencies } from "./sweep-clock.js";
import { Sweeping, type SweepingDependencies } from "./sweeping.js";
import { Tidying, type TidyingDependencies } from "./tidying.js";

export type SweepWorkDependencies = TidyingDependencies &
  Omit<SweepingDependencies, "tidying"> &
  Omit<SweepClockDependencies, "sweeping" | "drops">;

export class SweepWork {
  readonly drops: SubjectDrops;
  readonly sweeping: Sweeping;
  readonly #clock: SweepClock;

  constructor(deps: SweepWorkDependencies) {
    this.drops = new SubjectDrops(deps);
    this.sweeping = new Sweeping({ ...deps, tidying: new Tidying(deps) });
    this.#clock = new SweepClock({ ...deps, sweeping: this.sweeping, drops: this.drops });
  }

  start(): void {
    this.#clock.start();
  }

  stop(): Promise<void> {
    return this.#clock.stop();
  }
}
