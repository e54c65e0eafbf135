/** Owns how long the server said that each step of a call took, over many calls: shows where the time goes. */
import type { Held } from "./leaseholder.js";
import { summarise } from "./samples.js";

export class Steps {
  readonly #samples = new Map<string, number[]>();

  add(held: Held): void {
    for (const [step, ms] of Object.entries(held.steps)) {
      this.#samples.set(step, [...(this.#samples.get(step) ?? []), ms]);
    }
  }

  /** Medians, in the order of the steps. */
  toString(): string {
    const told = [...this.#samples].map(([step, samples]) => `${step} ${summarise(samples).median.toFixed(1)} ms`);
    return `the server's steps: ${told.join(", ")}`;
  }
}
