/** Owns measuring the steps of a call. */
import type { Timing } from "../ports/lease-store.js";

export async function timed<T>(timings: Timing[], step: string, action: () => Promise<T>): Promise<T> {
  const start = performance.now();
  try {
    return await action();
  } finally {
    timings.push({ step, ms: performance.now() - start });
  }
}
