/**
 * Owns fetching the owned host's mirrors because a forge told of a push.
 *
 * Invariants:
 * 1. A wish is fulfilled by a fetch that began after it; one fetch is for all wishes that came before it.
 * 2. A fetch that fails is tried again after growing pauses, and at last left to whoever acquires next.
 * 3. What waits idle follows behind each fetch.
 */
import type { Repository } from "../../domain/repository.js";
import type { DeliveryStore, WantedRefresh } from "../../ports/delivery-store.js";
import type { HostOwnership } from "../../ports/host-store.js";
import type { Logger } from "../../ports/logger.js";
import { Looking } from "../webhooks/looking.js";
import type { Mirrors } from "./mirrors.js";
import type { Warming } from "./warming.js";

export interface RefreshingDependencies {
  readonly store: DeliveryStore;
  readonly mirrors: Pick<Mirrors, "fetch">;
  readonly warming: Warming;
  readonly ownership: HostOwnership;
  readonly log: Logger;
}

interface Warmth {
  task: Promise<void>;
  again: boolean;
}

const beatMs = 1_000;
const atOnce = 2;

export class Refreshing {
  readonly #deps: RefreshingDependencies;
  readonly #looking: Looking;
  readonly #running = new Map<number, Promise<void>>();
  readonly #warming = new Map<number, Warmth>();
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: RefreshingDependencies) {
    this.#deps = deps;
    const failed = (error: unknown) => deps.log.warn({ err: error }, "could not look for mirrors to fetch");
    this.#looking = new Looking(() => this.#takeUp(), failed);
  }

  start(): void {
    this.#timer = setInterval(() => this.look(), beatMs);
  }

  /** Mirrors are to be fetched. */
  look(): void {
    if (this.#timer) this.#looking.look();
  }

  /** Begins no fetch any more; one that runs leaves its wish if it is given up. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#stopping.abort();
    await this.#looking.settled();
    await Promise.all([...this.#warming.values()].map(({ task }) => task));
  }

  async #takeUp(): Promise<void> {
    const { store, ownership } = this.#deps;
    if (!ownership.owner || this.#running.size >= atOnce) return;
    const due = await store.dueRefreshes(atOnce + this.#running.size);
    for (const wanted of due) {
      const { id } = wanted.repository;
      if (this.#running.has(id) || this.#running.size >= atOnce) continue;
      const task = this.#refresh(wanted).finally(() => {
        this.#running.delete(id);
        this.look();
      });
      this.#running.set(id, task);
    }
  }

  async #refresh(wanted: WantedRefresh): Promise<void> {
    const { store, mirrors, log } = this.#deps;
    try {
      const isFetched = await mirrors.fetch(wanted.repository).then(
        () => true,
        () => false, // the log has it
      );
      // what was given up is wanted as before
      if (this.#stopping.signal.aborted) return;
      await (isFetched ? store.refreshed(wanted) : store.postponeRefresh(wanted));
      if (isFetched) this.#warm(wanted.repository);
    } catch (error) {
      log.warn({ err: error, repository: wanted.repository.name }, "what became of a fetch could not be stored");
    }
  }

  /** One at a time for each repository; a fetch during one makes it go round once more. */
  #warm(repository: Repository): void {
    const { warming, log } = this.#deps;
    const { id, name, minIdle } = repository;
    if (minIdle === 0 || this.#stopping.signal.aborted) return;
    const running = this.#warming.get(id);
    if (running) {
      running.again = true;
      return;
    }
    const warmth: Warmth = { again: false, task: Promise.resolve() };
    warmth.task = warming
      .warm(repository, this.#stopping.signal)
      .catch((error) => log.warn({ err: error, repository: name }, "idle workspaces stay behind a push"))
      .finally(() => {
        this.#warming.delete(id);
        if (warmth.again) this.#warm(repository);
      });
    this.#warming.set(id, warmth);
  }
}
