/**
 * Implements the port `Wake` with LISTEN and NOTIFY.
 *
 * Invariants:
 * 1. NOTIFY is never inside a transition (its commit lock is global): at most one every few milliseconds, on its own.
 * 2. It is a hint: losing one costs a second, never an event.
 * 3. A process hears of its own changes without Postgres, and once: what NOTIFY brings back of them is dropped.
 */
import { randomUUID } from "node:crypto";
import type { HintOrigin, Wake } from "../ports/wake.js";
import type { Sql } from "./client.js";

const channel = "leasehold";
const debounceMs = 5;

export class PostgresWake implements Wake {
  readonly #sql: Sql;
  readonly #listeners = new Set<(from: HintOrigin) => void>();
  readonly #self = randomUUID();
  #soon: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;
  #unlisten: (() => Promise<void>) | undefined;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** Begins to listen. The driver listens again by itself after its connection broke. */
  async start(): Promise<void> {
    const listening = await this.#sql.listen(
      channel,
      (from) => {
        if (from !== this.#self) this.#fire("elsewhere");
      },
      () => this.#fire("elsewhere"),
    );
    this.#unlisten = listening.unlisten;
  }

  hint(): void {
    this.#soon ??= setImmediate(() => {
      this.#soon = undefined;
      this.#fire("here");
    });
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      // lost if the database is away: others look once a second
      this.#sql`select pg_notify(${channel}, ${this.#self})`.catch(() => {});
    }, debounceMs);
  }

  onHint(listener: (from: HintOrigin) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async stop(): Promise<void> {
    clearImmediate(this.#soon);
    clearTimeout(this.#timer);
    this.#listeners.clear();
    await this.#unlisten?.().catch(() => {});
  }

  #fire(from: HintOrigin): void {
    for (const listener of this.#listeners) listener(from);
  }
}
