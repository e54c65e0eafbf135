/** Owns everything about the room on the owned host's disk: what there is, what takes it, and what goes when it is short. */
import type { GitEngine } from "../../ports/git-engine.js";
import type { HostDisk } from "../../ports/host-disk.js";
import type { HostOwnership } from "../../ports/host-store.js";
import type { Logger } from "../../ports/logger.js";
import type { UsageStore } from "../../ports/usage-store.js";
import type { Wake } from "../../ports/wake.js";
import type { Keeper } from "../cleaning/keeper.js";
import type { Places } from "../places.js";
import { Disk, type DiskMarks } from "./disk.js";
import { Evicting } from "./evicting.js";
import { Measuring } from "./measuring.js";
import { Reserve } from "./reserve.js";

export interface RoomDependencies {
  readonly usage: UsageStore;
  readonly git: GitEngine;
  readonly places: Places;
  readonly ownership: HostOwnership;
  readonly wake: Wake;
  readonly log: Logger;
}

export class Room {
  readonly disk: Disk;
  readonly reserve: Reserve;
  #evicting: Evicting | undefined;
  #measuring: Measuring | undefined;

  private constructor(disk: Disk, reserve: Reserve) {
    this.disk = disk;
    this.reserve = reserve;
  }

  /** Fails with a line for an operator where the marks do not fit the disk. */
  static async open(files: HostDisk, marks: DiskMarks, host: string, log: Logger): Promise<Room> {
    const disk = new Disk(files, marks, host);
    await disk.begin();
    return new Room(disk, new Reserve(files, disk, log));
  }

  /** From now on room is made where it is short, by this keeper's work. */
  keptBy(keeper: Keeper, deps: RoomDependencies): void {
    const { disk, reserve } = this;
    this.#evicting = new Evicting({ ...deps, disk, reserve, keeper });
    this.#measuring = new Measuring({ ...deps, disk });
  }

  /** Of the owner, at every beat. */
  async look(): Promise<void> {
    this.#measuring?.look();
    await this.#evicting?.look();
  }

  async settled(): Promise<void> {
    await this.#evicting?.settled();
  }
}
