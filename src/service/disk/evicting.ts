/**
 * Owns what is given up when a disk is low: the least recently used idle workspaces above `min_idle`, then what is kept of
 * dependencies, then parked workspaces, the longest parked first.
 *
 * Invariants:
 * 1. Nothing is destroyed here: workspaces are given to cleaning with the order to remove them, which saves their work first.
 * 2. One round at a time: the room that one has made is looked at before the next begins.
 * 3. DISK_LOW and DISK_RECOVERED are written by the statement that stores the crossing, once for each.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { asFailure } from "../../domain/failure.js";
import type { GitEngine } from "../../ports/git-engine.js";
import type { HostOwnership } from "../../ports/host-store.js";
import type { Logger } from "../../ports/logger.js";
import type { UsageStore } from "../../ports/usage-store.js";
import type { Wake } from "../../ports/wake.js";
import type { Keeper } from "../cleaning/keeper.js";
import type { Places } from "../places.js";
import type { Disk } from "./disk.js";
import type { Reserve } from "./reserve.js";

export interface EvictingDependencies {
  readonly usage: UsageStore;
  readonly git: GitEngine;
  readonly keeper: Keeper;
  readonly disk: Disk;
  readonly reserve: Reserve;
  readonly places: Places;
  readonly ownership: HostOwnership;
  readonly wake: Wake;
  readonly log: Logger;
}

/** At most so many workspaces in one round. */
const atOnce = 4;
/** A round that takes longer goes on behind. */
const mostRoundMs = 60_000;
const noteEveryMs = 10_000;
const tellEveryMs = 60_000;

export class Evicting {
  readonly #deps: EvictingDependencies;
  #rounds: Promise<void> = Promise.resolve();
  #notedAt = Number.NEGATIVE_INFINITY;
  #notedReserve = 0;
  #toldAt = Number.NEGATIVE_INFINITY;
  #background: Promise<void> | undefined;

  constructor(deps: EvictingDependencies) {
    this.#deps = deps;
    deps.disk.servedBy((isEnough) => this.#evict(isEnough));
  }

  /** Looks at the disk, tells of crossings, and begins to make room behind where it is low. */
  async look(): Promise<void> {
    const { disk, reserve, usage, ownership } = this.#deps;
    const room = await disk.look(0);
    const crosses = disk.low ? room.freeBytes >= disk.recoverBytes : room.freeBytes < room.lowBytes;
    try {
      const isOld = performance.now() - this.#notedAt > noteEveryMs || this.#notedReserve !== reserve.bytes;
      if (crosses || isOld) {
        disk.low = await usage.noteDisk(room, reserve.bytes, disk.recoverBytes);
        this.#notedAt = performance.now();
        this.#notedReserve = reserve.bytes;
      }
    } catch (error) {
      // a database on a full disk gets on its feet again with a little room
      if (asFailure(error).reason === "DATABASE_UNAVAILABLE") await reserve.giveUpIfNeeded();
      throw error;
    }
    await reserve.keep(room);
    if (!disk.low || !ownership.owner || this.#background) return;
    this.#background = this.#evict(() => disk.room.freeBytes >= disk.recoverBytes)
      .catch((error) => this.#deps.log.warn({ err: error }, "could not make room on the disk"))
      .finally(() => {
        this.#background = undefined;
      });
  }

  /** Resolves when no round runs. */
  async settled(): Promise<void> {
    await this.#rounds.catch(() => {});
  }

  /** Round after round, until it is enough or there is nothing more; one caller after the other. */
  #evict(isEnough: () => boolean): Promise<void> {
    const mine = this.#rounds.catch(() => {}).then(() => this.#goOn(isEnough));
    this.#rounds = mine;
    return mine;
  }

  async #goOn(isEnough: () => boolean): Promise<void> {
    const { disk, ownership, keeper } = this.#deps;
    while (ownership.owner) {
      await disk.look(0);
      if (isEnough()) return;
      const gone = await this.#giveUpSome();
      if (gone === 0) return this.#tellIfStuck();
      // what was removed waits in the trash
      await keeper.emptied();
    }
  }

  /** How many things were given up. */
  async #giveUpSome(): Promise<number> {
    const { usage, disk, git, places, log } = this.#deps;
    const missing = Math.max(disk.recoverBytes - disk.room.freeBytes, 1);
    const idle = await this.#remove("IDLE", missing);
    if (idle > 0) return idle;
    const inUse = await usage.cachesInUse();
    const dropped = await git.dropDependencies({ root: places.dependencies, trash: places.trash, inUse });
    if (dropped !== "") {
      log.info({ dropped }, "the disk is low: dependencies that were kept are given up");
      return 1;
    }
    return this.#remove("PARKED", missing);
  }

  /** Resolves when their removal has ended, however. */
  async #remove(state: "IDLE" | "PARKED", bytes: number): Promise<number> {
    const { usage, keeper, wake, ownership, log } = this.#deps;
    const ended = new Map<string, () => void>();
    const done: Promise<void>[] = [];
    const stop = keeper.onFinished((id) => ended.get(id)?.());
    try {
      const ids = await usage.evict(state, bytes, atOnce);
      for (const id of ids) done.push(new Promise((resolve) => ended.set(id, resolve)));
      if (ids.length === 0) return 0;
      log.info({ workspaces: ids, state }, "the disk is low: workspaces are given up");
      keeper.expect("work");
      wake.hint();
      void keeper.look();
      await Promise.race([
        Promise.all(done),
        sleep(mostRoundMs, undefined, { ref: false, signal: ownership.signal }),
      ]).catch(() => {});
      return ids.length;
    } finally {
      stop();
    }
  }

  #tellIfStuck(): void {
    if (performance.now() - this.#toldAt < tellEveryMs) return;
    this.#toldAt = performance.now();
    this.#deps.log.warn({ ...this.#deps.disk.room }, "the disk is low, and there is nothing more to give up");
  }
}
