/**
 * Owns the live stream of events: one tailer per process reads the log, every watcher is fed from memory.
 *
 * Invariants:
 * 1. The log is truth, hints only make it quick: the tailer looks at least once a second.
 * 2. A watcher sees consecutive revisions, hidden by its filter or not; whatever it has not seen it reads from the log.
 * 3. Memory is bounded: the tail keeps the newest events only, and a watcher that falls behind what is kept for it is cut
 *    with WATCH_TOO_SLOW and the revision to resume from.
 * 4. Of one event there is one item, which all watchers are given, so that whoever sends it may convert it once.
 * 5. A bookmark follows every `bookmarkMs` of silence, whatever the filter hides, and comes after every event up to its revision.
 */
import { type Event, matches } from "../domain/event.js";
import { Failure } from "../domain/failure.js";
import type { EventLog } from "../ports/event-log.js";
import type { WorkspaceFilter, WorkspacePool } from "../ports/lease-store.js";
import type { Logger } from "../ports/logger.js";
import { EventTail, type Follower } from "./event-tail.js";
import { drainingFailure } from "./leases/attending.js";
import type { CallContext, WatchInput, WatchItem, WatchStep } from "./services.js";

export interface WatchingDependencies {
  readonly events: EventLog;
  readonly pool: WorkspacePool;
  readonly storeId: string;
  readonly draining: AbortSignal;
  readonly log: Logger;
  readonly bookmarkMs: number;
  /** How many events a watcher may be behind before it is cut. */
  readonly maxBehind: number;
}

const page = 500;

export class Watching {
  readonly #deps: WatchingDependencies;
  readonly tail: EventTail;
  readonly #items = new WeakMap<Event, WatchItem>();

  constructor(deps: WatchingDependencies) {
    this.#deps = deps;
    this.tail = new EventTail(deps.events, deps.log);
    deps.draining.addEventListener("abort", () => this.tail.close(), { once: true });
  }

  async *watch(input: WatchInput, call: CallContext): AsyncGenerator<WatchStep> {
    const { storeId, events, draining } = this.#deps;
    if (draining.aborted) throw drainingFailure();
    if (input.storeId && input.storeId !== storeId) {
      throw new Failure("STORE_CHANGED", "the database is another one than that of the revision", {
        metadata: { store_id: storeId },
      });
    }
    const bounds = await events.publish();
    let next = input.fromRevision ?? bounds.newest + 1n;
    if (input.fromRevision !== undefined) checkBounds(input.fromRevision, bounds);
    if (input.includeSnapshot) {
      const snapshot = await this.#snapshot(input, call);
      for (const workspace of snapshot.workspaces) {
        yield { kind: "snapshot", workspace, revision: snapshot.revision, storeId };
      }
      yield { kind: "snapshotEnd", workspaces: snapshot.workspaces.length, revision: snapshot.revision, storeId };
      next = snapshot.revision + 1n;
    } else {
      yield { kind: "snapshotEnd", workspaces: 0, revision: next - 1n, storeId };
    }
    const until = input.untilNow ? (await events.publish()).newest : undefined;
    const follower = this.tail.follow(call.signal);
    try {
      if (this.tail.newest < bounds.newest) await this.tail.look();
      yield* this.#follow(follower, next, until, input, call);
    } finally {
      follower.leave();
    }
  }

  async *#follow(
    follower: Follower,
    from: bigint,
    until: bigint | undefined,
    input: WatchInput,
    call: CallContext,
  ): AsyncGenerator<WatchStep> {
    const { storeId, events, bookmarkMs, draining, maxBehind } = this.#deps;
    let next = from;
    let spoken = performance.now();
    let caughtUp = false;
    for (;;) {
      if (until !== undefined && next > until) return;
      if (draining.aborted) throw drainingFailure();
      if (call.signal.aborted) return;
      const newest = this.tail.newest;
      if (caughtUp && newest - next > BigInt(maxBehind)) throw tooSlow(next);
      const batch =
        next <= newest
          ? (this.tail.since(next, page) ?? (await this.#read(next)))
          : until === undefined
            ? []
            : await events.read(next, page);
      const wanted: WatchItem[] = [];
      let isOver = false;
      for (const event of batch) {
        isOver = until !== undefined && event.revision > until;
        if (isOver) break;
        next = event.revision + 1n;
        if (matches(input.filter, event)) wanted.push(this.#itemOf(event));
      }
      if (wanted.length > 0) {
        // a resumed watcher may be far behind at first; once it is near it has to keep up
        caughtUp ||= newest - next < BigInt(page);
        yield wanted;
        spoken = performance.now();
      }
      if (isOver) return;
      const left = spoken + bookmarkMs - performance.now();
      // one that is far behind, and sees nothing of what it reads, is told how far it is
      if (batch.length > 0 && left > 0) continue;
      if (batch.length === 0) caughtUp = true;
      if (left <= 0) {
        yield { kind: "bookmark", revision: next - 1n, storeId };
        spoken = performance.now();
      } else await follower.change(next, left);
    }
  }

  #itemOf(event: Event): WatchItem {
    let item = this.#items.get(event);
    if (!item) {
      item = { kind: "event", event, revision: event.revision, storeId: this.#deps.storeId };
      this.#items.set(event, item);
    }
    return item;
  }

  async #read(next: bigint): Promise<readonly Event[]> {
    const batch = await this.#deps.events.read(next, page);
    // also when there is nothing from there on: all of it may have been forgotten while the watcher was slow
    if (batch[0]?.revision !== next) checkBounds(next, await this.#deps.events.publish());
    return batch;
  }

  /** All pages of one moment: every workspace's version tells which of the events after the first page's revision are news. */
  async #snapshot(input: WatchInput, call: CallContext) {
    const { repository, holder, host, workspaceId, leaseId, caller } = input.filter;
    const filter: WorkspaceFilter = {
      ...(repository ? { repository } : {}),
      ...(holder ? { holder } : {}),
      ...(host ? { host } : {}),
      ...(workspaceId ? { workspaceId } : {}),
      ...(leaseId ? { leaseId } : {}),
      ...(caller === undefined ? {} : { caller }),
    };
    const first = await this.#deps.pool.list(filter, "", 1_000);
    const workspaces = [...first.workspaces];
    for (let last = first.workspaces; last.length === 1_000 && !call.signal.aborted; ) {
      last = (await this.#deps.pool.list(filter, workspaces.at(-1)?.id ?? "", 1_000)).workspaces;
      workspaces.push(...last);
    }
    return { workspaces, revision: first.revision };
  }
}

function checkBounds(revision: bigint, bounds: { oldest: bigint; newest: bigint }): void {
  const metadata = { oldest_revision: String(bounds.oldest), newest_revision: String(bounds.newest) };
  if (revision < bounds.oldest) {
    throw new Failure("REVISION_COMPACTED", `events before revision ${bounds.oldest} are no longer kept`, { metadata });
  }
  if (revision > bounds.newest + 1n) {
    throw new Failure("REVISION_FUTURE", `the newest revision is ${bounds.newest}`, { metadata });
  }
}

function tooSlow(next: bigint): Failure {
  return new Failure("WATCH_TOO_SLOW", "the watcher reads too slowly; resume from next_revision", {
    metadata: { next_revision: String(next) },
    retryAfterMs: 100,
  });
}
