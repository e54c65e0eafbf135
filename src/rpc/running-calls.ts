/** Owns the count of calls whose answers are not closed yet. */
import type { NodeResponse } from "./listener.js";

export class RunningCalls {
  #count = 0;
  readonly #waiting = new Set<() => void>();

  get count(): number {
    return this.#count;
  }

  begin(response: NodeResponse): void {
    this.#count += 1;
    response.once("close", () => {
      this.#count -= 1;
      if (this.#count === 0) for (const wake of this.#waiting) wake();
    });
  }

  /** Resolves once none runs, or after `ms` milliseconds. */
  whenNone(ms: number): Promise<void> {
    if (this.#count === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#waiting.delete(end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#waiting.add(end);
    });
  }
}
