/**
 * Owns the newest events in memory, read once for all watchers of this process.
 *
 * Invariants:
 * 1. What is kept are consecutive revisions that end at `newest`.
 * 2. A failure to read changes nothing: the next look begins where the last good one ended.
 */
import type { Event } from "../domain/event.js";
import type { EventLog } from "../ports/event-log.js";
import type { Logger } from "../ports/logger.js";

const keep = 10_000;
const page = 1_000;

export class EventTail {
  readonly #events: EventLog;
  readonly #log: Logger;
  #kept: Event[] = [];
  #newest = 0n;
  readonly #waiting = new Set<() => void>();
  #followers = 0;
  #looking: Promise<void> | undefined;
  #again = false;

  constructor(events: EventLog, log: Logger) {
    this.#events = events;
    this.#log = log;
  }

  /** Newest revision that this process has read. */
  get newest(): bigint {
    return this.#newest;
  }

  /** Whether somebody follows what comes next; otherwise it is enough to look now and then. */
  get isFollowed(): boolean {
    return this.#followers > 0;
  }

  /** Says that somebody follows from now on. Answers how to end that. */
  follow(): () => void {
    this.#followers++;
    return () => {
      this.#followers--;
    };
  }

  /** Begins at the newest revision. */
  async start(): Promise<void> {
    this.#newest = (await this.#events.publish()).newest;
  }

  /** Publishes and reads what is new. One look at a time; a call during one makes it look once more. */
  look(): Promise<void> {
    if (this.#looking) {
      this.#again = true;
      return this.#looking;
    }
    this.#looking = this.#lookUntilDone()
      .catch((error) => this.#log.debug({ err: error }, "events could not be read"))
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  /** Events from `revision` on, at most `limit`, or undefined if memory does not have all of them. */
  since(revision: bigint, limit: number): readonly Event[] | undefined {
    const first = this.#kept[0]?.revision;
    if (first === undefined || revision < first) return undefined;
    const at = Number(revision - first);
    return this.#kept.slice(at, at + limit);
  }

  /** Resolves when `revision` was read, the time is over, or a signal aborts. */
  change(revision: bigint, ms: number, ...signals: readonly AbortSignal[]): Promise<void> {
    if (this.#newest >= revision || signals.some((signal) => signal.aborted)) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        for (const signal of signals) signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.add(done);
      for (const signal of signals) signal.addEventListener("abort", done);
    });
  }

  async #lookUntilDone(): Promise<void> {
    do {
      this.#again = false;
      const { newest } = await this.#events.publish();
      while (this.#newest < newest) {
        const events = await this.#events.read(this.#newest + 1n, page);
        const last = events.at(-1);
        if (!last) break;
        // after an absence longer than the retention, what is kept begins anew
        this.#kept = events[0]?.revision === this.#newest + 1n ? [...this.#kept, ...events].slice(-keep) : [...events];
        this.#newest = last.revision;
        for (const wake of [...this.#waiting]) wake();
      }
    } while (this.#again);
  }
}
