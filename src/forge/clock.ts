/** Owns the time that requests to forges are measured by: a test moves one of its own. */
import { setTimeout as sleep } from "node:timers/promises";

export interface Clock {
  /** Milliseconds that never go back. */
  now(): number;
  /** Milliseconds since the epoch. */
  wall(): number;
  /** Rejects when `signal` aborts. */
  pause(ms: number, signal?: AbortSignal): Promise<void>;
}

export const realClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  pause: (ms, signal) => sleep(ms, undefined, signal ? { signal, ref: false } : { ref: false }),
};
