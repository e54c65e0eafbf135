/** Owns the count of calls whose answers are not closed yet. */

/** What is closed when a call is over. */
interface Closing {
  once(event: "close", listener: () => void): unknown;
}

export class RunningCalls {
  #count = 0;
  readonly #waiting = new Set<() => void>();

  get count(): number {
    return this.#count;
  }

  begin(response: Closing): void {
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
