/**
 * Owns whether the server can do its work now, for probes and health checks.
 *
 * Invariants:
 * 1. The question behind it is asked once at a time and at most twice a second, however many ask here.
 * 2. A question that fails or takes more than 5 s is answered with no. Draining is no.
 */
import { setTimeout as after } from "node:timers/promises";

export interface Readiness {
  readonly ok: boolean;
  /** In words for an operator. */
  readonly detail: string;
}

const freshMs = 500;
const answerTimeoutMs = 5000;

export class ReadinessGauge {
  readonly #ask: () => Promise<Readiness>;
  #running: Promise<Readiness> | undefined;
  #last: Readiness | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #isDraining = false;

  constructor(ask: () => Promise<Readiness>) {
    this.#ask = ask;
  }

  drain(): void {
    this.#isDraining = true;
  }

  async read(): Promise<Readiness> {
    if (this.#isDraining) return { ok: false, detail: "draining" };
    if (this.#last && performance.now() - this.#readAt < freshMs) return this.#last;
    this.#running ??= this.#readOnce().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #readOnce(): Promise<Readiness> {
    const stop = new AbortController();
    const silence = after(answerTimeoutMs, { ok: false, detail: "no answer within 5 s" }, { signal: stop.signal });
    silence.catch(() => {});
    const answer = await Promise.race([
      this.#ask().catch(() => ({ ok: false, detail: "the readiness check failed" })),
      silence,
    ]);
    stop.abort();
    this.#last = answer;
    this.#readAt = performance.now();
    return answer;
  }
}
