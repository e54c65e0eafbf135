/** Owns a clock that stands still until somebody pauses by it, or a test moves it. */
import type { Clock } from "../../src/forge/clock.js";

export class MovedClock implements Clock {
  #time = 0;
  readonly pauses: number[] = [];
  readonly #epoch = Date.parse("2026-11-21T00:00:00Z");

  now = (): number => this.#time;

  wall = (): number => this.#epoch + this.#time;

  async pause(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.pauses.push(ms);
    this.#time += ms;
  }

  move(ms: number): void {
    this.#time += ms;
  }
}
