/**
 * Owns what happens by itself: at every hint, and every second besides, since a hint may be lost.
 *
 * Invariants:
 * 1. Leases are expired by the owner of their host only; the database judges whether it has been well for long enough.
 * 2. A step that fails is logged and tried again at the next beat; it stops nothing else.
 * 3. No beat waits for files: what works on them runs behind, each such step once at a time.
 */
import type { EventLog } from "../ports/event-log.js";
import type { HostOwnership } from "../ports/host-store.js";
import type { LeaseStore } from "../ports/lease-store.js";
import type { Logger } from "../ports/logger.js";
import type { Wake } from "../ports/wake.js";
import type { WorkspaceStore } from "../ports/workspace-store.js";
import type { Keeper } from "./cleaning/keeper.js";
import type { Salvages } from "./cleaning/salvages.js";
import type { Room } from "./disk/room.js";
import type { EventTail } from "./event-tail.js";
import type { Granting } from "./leases/granting.js";

export interface PulseDependencies {
  readonly ownership: HostOwnership;
  readonly wake: Wake;
  readonly granting: Granting;
  readonly keeper: Keeper;
  readonly salvages: Salvages;
  readonly room: Room;
  readonly tail: EventTail;
  readonly leases: LeaseStore;
  readonly work: WorkspaceStore;
  readonly events: EventLog;
  readonly eventRetentionMs: number;
  readonly log: Logger;
}

const beatMs = 1_000;
const houseEvery = 10;

export class Pulse {
  readonly #deps: PulseDependencies;
  readonly #undo: (() => void)[] = [];
  #beats = 0;
  #beating: Promise<void> | undefined;
  readonly #behind = new Map<string, Promise<void>>();

  constructor(deps: PulseDependencies) {
    this.#deps = deps;
  }

  start(): void {
    const { wake, ownership } = this.#deps;
    this.#undo.push(wake.onHint((from) => this.#look(from === "elsewhere")));
    this.#undo.push(ownership.onChange((owner) => owner && this.#begin()));
    const timer = setInterval(() => {
      this.#beating ??= this.#beat().finally(() => {
        this.#beating = undefined;
      });
    }, beatMs);
    this.#undo.push(() => clearInterval(timer));
    if (ownership.owner) this.#begin();
  }

  async stop(): Promise<void> {
    for (const step of this.#undo.splice(0)) step();
    await this.#beating;
  }

  /** Resolves when nothing runs behind any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#behind.values());
  }

  #begin(): void {
    this.#step("take up what a crash left", () => this.#deps.keeper.sweepLeftovers());
    this.#look(true);
  }

  /** `all`: also for what this process learns of by itself when it happens here. */
  #look(all: boolean): void {
    const { tail, granting, keeper } = this.#deps;
    if (all || tail.isFollowed) this.#step("read events", () => tail.look());
    granting.wakeLines();
    if (all) keeper.expect("work", "idle", "mirrors");
    if (all) this.#step("serve tickets", () => granting.look());
    this.#step("look for file work", () => keeper.look());
  }

  async #beat(): Promise<void> {
    const { ownership, leases, wake, work, events, keeper, salvages, room, eventRetentionMs } = this.#deps;
    this.#look(true);
    if (ownership.owner) {
      await this.#step("expire leases", async () => {
        if ((await leases.expire()) === 0) return;
        keeper.expect("work");
        wake.hint();
      });
    }
    if (ownership.owner) {
      await this.#step("look at the disk", () => room.look());
      this.#stepBehind("finish removals", () => keeper.finishRemovals());
      this.#stepBehind("expire salvages", () => salvages.keepHouse());
    }
    this.#beats++;
    if (this.#beats % houseEvery !== 0) return;
    await this.#step("keep house", () => work.keepHouse(eventRetentionMs));
    await this.#step("forget old events", () => events.trim(eventRetentionMs));
  }

  #stepBehind(what: string, action: () => Promise<unknown>): void {
    if (this.#behind.has(what)) return;
    this.#behind.set(
      what,
      this.#step(what, action).finally(() => this.#behind.delete(what)),
    );
  }

  async #step(what: string, action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.#deps.log.warn({ err: error }, `could not ${what}`);
    }
  }
}
