/**
 * Owns the reserve: room that nobody gets but who saves work on a full disk.
 *
 * Invariants:
 * 1. It is given up before work is saved where less than its size is free, and not made again while anybody saves.
 * 2. It is made again, little by little, only where that leaves the disk above its low mark.
 */
import type { DiskRoom } from "../../domain/usage.js";
import type { HostDisk } from "../../ports/host-disk.js";
import type { Logger } from "../../ports/logger.js";
import type { Disk } from "./disk.js";

const mostBytes = 256 * 1024 ** 2;
/** Of the data directory's file system. */
const share = 0.05;
/** So much is written in one go; a reserve that is not larger is always there. */
const stepBytes = 16 * 1024 ** 2;

export class Reserve {
  readonly #files: HostDisk;
  readonly #disk: Disk;
  readonly #log: Logger;
  #users = 0;
  #bytes = 0;

  constructor(files: HostDisk, disk: Disk, log: Logger) {
    this.#files = files;
    this.#disk = disk;
    this.#log = log;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Saves work, with the reserve if it is needed. */
  async lend<T>(save: () => Promise<T>): Promise<T> {
    this.#users++;
    try {
      await this.giveUpIfNeeded().catch((error) => this.#log.warn({ err: error }, "the reserve could not be given up"));
      return await save();
    } finally {
      this.#users--;
    }
  }

  /** Gives it up where the disk has nearly nothing else left. */
  async giveUpIfNeeded(): Promise<void> {
    const [{ totalBytes, freeBytes }] = await this.#files.look();
    if (freeBytes >= wantedBytes(totalBytes) || (await this.#files.reserveBytes()) === 0) return;
    this.#log.warn({ freeBytes }, "the disk is nearly full: its reserve is given up");
    await this.#files.releaseReserve();
    this.#bytes = 0;
  }

  /** Makes it, or a part of it, where that is due. */
  async keep({ freeBytes, lowBytes, minFreeBytes, totalBytes }: DiskRoom): Promise<void> {
    if (this.#users > 0 || this.#disk.low) return;
    this.#bytes = await this.#files.reserveBytes();
    const wanted = wantedBytes(totalBytes);
    const missing = Math.min(wanted - this.#bytes, stepBytes);
    const mark = Math.max(lowBytes, minFreeBytes);
    // on a disk with plenty of room it would be written for nothing
    const isDue = wanted <= stepBytes || freeBytes < 2 * mark;
    if (missing <= 0 || !isDue || freeBytes - missing < mark) return;
    await this.#files.growReserve(missing);
    this.#bytes = await this.#files.reserveBytes();
  }
}

function wantedBytes(totalBytes: number): number {
  return Math.min(Math.floor(totalBytes * share), mostBytes);
}
