/**
 * Owns renewals: those of many callers become one statement.
 *
 * Invariants:
 * 1. A batch is sent when the one before has returned, and gathers for at least `gatherMs`; so there is one at a time.
 * 2. Every caller learns the outcome of its own renewal, after it was committed.
 */
import type { Lease } from "../../domain/lease.js";
import type { LeaseStore, Renewal } from "../../ports/lease-store.js";

interface Waiting {
  readonly renewal: Renewal;
  readonly resolve: (lease: Lease | undefined) => void;
  readonly reject: (error: unknown) => void;
}

const gatherMs = 2;
const maxBatch = 2_000;

export class Heartbeats {
  readonly #leases: LeaseStore;
  #waiting: Waiting[] = [];
  #flushing = false;

  constructor(leases: LeaseStore) {
    this.#leases = leases;
  }

  /** The renewed lease, or undefined if it does not live. */
  renew(renewal: Renewal): Promise<Lease | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ renewal, resolve, reject });
      if (!this.#flushing) {
        this.#flushing = true;
        setTimeout(() => void this.#flush(), gatherMs);
      }
    });
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, maxBatch);
      try {
        const leases = await this.#leases.renew(batch.map((waiting) => waiting.renewal));
        for (const [index, waiting] of batch.entries()) waiting.resolve(leases[index]);
      } catch (error) {
        for (const waiting of batch) waiting.reject(error);
      }
    }
    this.#flushing = false;
  }
}
