/**
 * Owns the order in which waiting tickets of one queue ask again.
 *
 * Invariants:
 * 1. Only the first of a line is woken; when it leaves, for whatever reason, the next one is. So a freed workspace costs
 *    one question to the store, not one for each that waits.
 * 2. Who waits for something of its own stands aside: it is woken whenever anything changes, and holds nobody up.
 */
import { Failure } from "../../domain/failure.js";

interface Waiter {
  readonly ticketId: bigint;
  readonly wake: () => void;
}

export class QueueLine {
  readonly #waiters: Waiter[] = [];
  readonly #aside = new Set<() => void>();

  /** Resolves when it is this ticket's turn to ask, or the signal aborts. */
  turn(ticketId: bigint, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiter: Waiter = {
        ticketId,
        wake: () => {
          signal.removeEventListener("abort", waiter.wake);
          const at = this.#waiters.indexOf(waiter);
          if (at >= 0) this.#waiters.splice(at, 1);
          resolve();
        },
      };
      const after = this.#waiters.findIndex((other) => other.ticketId > ticketId);
      this.#waiters.splice(after < 0 ? this.#waiters.length : after, 0, waiter);
      signal.addEventListener("abort", waiter.wake, { once: true });
      if (signal.aborted) waiter.wake();
    });
  }

  /** Resolves when something may have changed, or the signal aborts. */
  aside(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener("abort", wake);
        this.#aside.delete(wake);
        resolve();
      };
      this.#aside.add(wake);
      signal.addEventListener("abort", wake, { once: true });
      if (signal.aborted) wake();
    });
  }

  /** Something may have become free. */
  wakeFirst(): void {
    for (const wake of [...this.#aside]) wake();
    this.#waiters[0]?.wake();
  }

  get length(): number {
    return this.#waiters.length + this.#aside.size;
  }
}

export function poolExhausted(position: number): Failure {
  return new Failure("POOL_EXHAUSTED", "every workspace of this repository is in use", {
    metadata: { position: String(position) },
    retryAfterMs: 1_000,
  });
}
