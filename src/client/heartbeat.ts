/**
 * Owns the renewal of one lease.
 *
 * Invariants:
 * 1. The lease is renewed every third of what remains, whatever the holder does with it, until it is stopped or lost.
 * 2. The deadline is counted from before the request was sent, on the monotonic clock, so it is never late: also not
 *    after a renewal that shortens the lease, be it answered or not, and not where two renewals overlap and nobody knows
 *    which was the last.
 * 3. A server's word that the lease has ended is final at once. Anything else is tried again until the deadline,
 *    and then the lease counts as lost, since nobody can vouch for it any more.
 */
import { asLeaseholdError, type LeaseholdError, LeaseLostError } from "./error.js";
import { isTransient, pauseAfter } from "./retry.js";

export interface HeartbeatOptions {
  /** Renews the lease, with a deadline of its own in milliseconds; answers what remains, in milliseconds. */
  readonly renew: (timeoutMs: number) => Promise<number>;
  /** `performance.now()` until which the lease is certain. */
  readonly deadline: number;
  /** How long past the deadline to go on before the lease counts as lost, in milliseconds. */
  readonly graceMs: number;
  /** Called once. */
  readonly onLost: (error: LeaseLostError) => void;
}

/** The shortest time between two renewals, in milliseconds. */
const shortestInterval = 100;

/** The shortest and longest a single renewal may take, in milliseconds. */
const shortestRenewal = 500;
const longestRenewal = 10_000;

/** The longest delay that a timer knows, in milliseconds; one that is longer would end at once. */
const longestDelay = 2_147_483_647;

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #deadline: number;
  #interval: number;
  /** `performance.now()` of the latest confirmation. */
  #confirmedAt = 0;
  #failures = 0;
  #lastFailure: LeaseholdError | undefined;
  #ended = false;
  #referenced = true;
  #next: NodeJS.Timeout | undefined;
  #end: NodeJS.Timeout | undefined;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#deadline = options.deadline;
    this.#interval = Math.max(shortestInterval, (options.deadline - performance.now()) / 3);
    this.#schedule(this.#jittered());
    this.#armEnd();
  }

  /** `performance.now()` until which the lease is certain. */
  get deadline(): number {
    return this.#deadline;
  }

  /** Takes note of a renewal that was sent at `sentAt` (`performance.now()`). */
  confirm(sentAt: number, remainingMs: number): void {
    if (this.#ended) return;
    const overlaps = sentAt < this.#confirmedAt;
    this.#deadline = overlaps ? Math.min(this.#deadline, sentAt + remainingMs) : sentAt + remainingMs;
    this.#confirmedAt = performance.now();
    this.#interval = Math.max(shortestInterval, (this.#deadline - sentAt) / 3);
    this.#failures = 0;
    this.#lastFailure = undefined;
    this.#armEnd();
    this.#schedule(this.#jittered());
  }

  /** Takes note of a renewal that failed: the lease is lost if the server says that it is, or knows no such lease. */
  refuse(thrown: unknown): void {
    const loss = lossOf(asLeaseholdError(thrown));
    if (loss !== undefined) this.#lose(loss);
  }

  /** Takes note of a renewal for `ttlMs`, sent at `sentAt`, that was not answered: it may have come to be, so it is asked. */
  doubt(sentAt: number, ttlMs: number, thrown: unknown): void {
    if (this.#ended || !isTransient(asLeaseholdError(thrown))) return;
    this.#deadline = Math.min(this.#deadline, sentAt + ttlMs);
    this.#armEnd();
    this.#schedule(shortestInterval);
  }

  stop(): void {
    this.#ended = true;
    clearTimeout(this.#next);
    clearTimeout(this.#end);
  }

  /** Whether the timers keep the process alive; they do at first. */
  setReferenced(referenced: boolean): void {
    this.#referenced = referenced;
    for (const timer of [this.#next, this.#end]) referenced ? timer?.ref() : timer?.unref();
  }

  async #beat(): Promise<void> {
    const sentAt = performance.now();
    const left = this.#deadline + this.#options.graceMs - sentAt;
    const patience = Math.min(longestRenewal, Math.max(shortestRenewal, this.#interval / 2));
    try {
      this.confirm(sentAt, await this.#options.renew(Math.min(left, patience)));
    } catch (thrown) {
      this.refuse(thrown);
      if (this.#ended) return;
      const error = asLeaseholdError(thrown);
      this.#failures++;
      this.#lastFailure = error;
      const longest = Math.max(200, this.#interval / 4);
      this.#schedule(Math.min(pauseAfter(this.#failures, error, longest), 2 * longest));
    }
  }

  /** A little less than the interval, so that many holders do not beat at once and none beats late. */
  #jittered(): number {
    return this.#interval * (0.85 + 0.15 * Math.random());
  }

  #schedule(delay: number): void {
    if (this.#ended) return;
    clearTimeout(this.#next);
    this.#next = setTimeout(() => void this.#beat(), Math.min(longestDelay, delay));
    if (!this.#referenced) this.#next.unref();
  }

  #armEnd(): void {
    clearTimeout(this.#end);
    const left = this.#deadline + this.#options.graceMs - performance.now();
    const ended = () => (left > longestDelay ? this.#armEnd() : this.#unconfirmed());
    this.#end = setTimeout(ended, Math.min(longestDelay, Math.max(0, left)));
    if (!this.#referenced) this.#end.unref();
  }

  #unconfirmed(): void {
    const last = this.#lastFailure;
    const why = last === undefined ? "this process did not get to it" : last.message;
    const facts = { reason: "LEASE_LOST", code: "FAILED_PRECONDITION", ...(last && { cause: last }) } as const;
    this.#lose(new LeaseLostError(`the lease could not be renewed before its deadline: ${why}`, facts, false));
  }

  #lose(error: LeaseLostError): void {
    if (this.#ended) return;
    this.stop();
    this.#options.onLost(error);
  }
}

/** What the server's answer says of the lease: that it is lost, or undefined: nothing. */
function lossOf(error: LeaseholdError): LeaseLostError | undefined {
  if (error instanceof LeaseLostError) return error;
  if (error.reason !== "TOKEN_INVALID") return undefined;
  const { code, metadata } = error;
  const facts = { reason: "LEASE_LOST", code, metadata, cause: error } as const;
  return new LeaseLostError(`the server knows no such lease: ${error.message}`, facts);
}
