/**
 * Owns the newest events in memory, read once for all watchers of this process.
 *
 * Invariants:
 * 1. What is kept are consecutive revisions that end at `newest`.
 * 2. A failure to read changes nothing: the next look begins where the last good one ended.
 * 3. Followers are woken all at once, and no sooner than `gatherMs` after the last time: what happens in between comes
 *    to each of them in one piece, so that many watchers cost little more than the bytes they are sent.
 */
import type { Event } from "../domain/event.js";
import type { EventLog } from "../ports/event-log.js";
import type { Logger } from "../ports/logger.js";

const keep = 10_000;
const page = 1_000;
/** Milliseconds. The first event after a silence waits for nothing. */
const gatherMs = 20;

/** Somebody who follows what comes next. */
export interface Follower {
  /** Resolves when `revision` was read, the time is over, the follower's signal aborts, or the tail is closed. */
  change(revision: bigint, ms: number): Promise<void>;
  /** To be called once nobody follows any more. */
  leave(): void;
}

export class EventTail {
  readonly #events: EventLog;
  readonly #log: Logger;
  #kept: Event[] = [];
  #newest = 0n;
  readonly #waiting = new Set<() => void>();
  #followers = 0;
  #wokenAt = Number.NEGATIVE_INFINITY;
  #waking: NodeJS.Timeout | undefined;
  #isClosed = false;
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

  /** Says that somebody follows from now on, until it leaves; nobody waits once `signal` has aborted. */
  follow(signal: AbortSignal): Follower {
    this.#followers++;
    let wake: (() => void) | undefined;
    const onAbort = () => wake?.();
    signal.addEventListener("abort", onAbort);
    return {
      change: (revision, ms) => {
        if (this.#newest >= revision || signal.aborted || this.#isClosed) return Promise.resolve();
        return new Promise((resolve) => {
          wake = () => {
            clearTimeout(timer);
            this.#waiting.delete(wake as () => void);
            wake = undefined;
            resolve();
          };
          const timer = setTimeout(wake, ms);
          this.#waiting.add(wake);
        });
      },
      leave: () => {
        this.#followers--;
        signal.removeEventListener("abort", onAbort);
      },
    };
  }

  /** Nobody waits for anything from now on. */
  close(): void {
    this.#isClosed = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    clearTimeout(this.#waking);
    this.#waking = undefined;
    this.#wokenAt = performance.now();
    for (const wake of [...this.#waiting]) wake();
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

  /** Invariant 3. */
  #wakeSoon(): void {
    if (this.#waking) return;
    const left = this.#wokenAt + gatherMs - performance.now();
    if (left <= 0) this.#wakeAll();
    else this.#waking = setTimeout(() => this.#wakeAll(), left);
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
        this.#wakeSoon();
      }
    } while (this.#again);
  }
}
