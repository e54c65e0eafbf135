/**
 * Owns who in this process waits for which ticket.
 *
 * Invariants:
 * 1. A ticket's outcome reaches every seat of it, and only the last that leaves gives the place up.
 * 2. Once one seat was served, none that leaves gives anything up.
 */
import type { TicketOutcome } from "../../ports/lease-store.js";

export type Settled = Exclude<TicketOutcome, { kind: "pending" }>;

class Row {
  seats = 0;
  served = false;
  readonly readings = new Set<Promise<unknown>>();
  readonly #listeners = new Set<(outcome: Settled) => void>();
  outcome: Settled | undefined;

  settle(outcome: Settled): void {
    this.outcome ??= outcome;
    for (const listener of this.#listeners) listener(this.outcome);
    this.#listeners.clear();
  }

  listen(listener: (outcome: Settled) => void): () => void {
    if (this.outcome) listener(this.outcome);
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export interface Seat {
  /** Calls back once, at once if the outcome is there. Answers how to stop that. */
  onOutcome(listener: (outcome: Settled) => void): () => void;
  /** Whether nobody else here waits for the ticket. */
  readonly alone: boolean;
  /** Passes on what reads the ticket for this seat: `readings` knows of it until it has ended. */
  during<T>(reading: Promise<T>): Promise<T>;
  /** Resolves when nothing reads the ticket any more for whoever sits or sat beside this seat. */
  readings(): Promise<unknown>;
  /** Gives the seat up; true if it was the ticket's last one here and none was served. Once only. */
  leave(): boolean;
  /** Gives the seat up after its answer was written. */
  served(): void;
}

export class Seats {
  readonly #rows = new Map<bigint, Row>();

  sit(ticketId: bigint): Seat {
    const row = this.#rows.get(ticketId) ?? new Row();
    this.#rows.set(ticketId, row);
    row.seats++;
    let left = false;
    const leave = () => {
      if (left) return false;
      left = true;
      row.seats--;
      if (row.seats > 0) return false;
      this.#rows.delete(ticketId);
      return !row.served;
    };
    return {
      get alone() {
        return row.seats === 1;
      },
      onOutcome: (listener) => row.listen(listener),
      during: (reading) => {
        row.readings.add(reading);
        const end = () => row.readings.delete(reading);
        reading.then(end, end);
        return reading;
      },
      readings: () => Promise.allSettled(row.readings),
      leave,
      served: () => {
        row.served = true;
        leave();
      },
    };
  }

  /** Somebody learned what became of the ticket. */
  settle(ticketId: bigint, outcome: Settled): void {
    this.#rows.get(ticketId)?.settle(outcome);
  }

  /** Whether somebody here waits for the ticket, or is being answered. */
  has(ticketId: bigint): boolean {
    return this.#rows.has(ticketId);
  }
}
