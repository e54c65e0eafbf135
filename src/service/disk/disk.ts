/**
 * Owns how much room the owned host has, and whether there is enough for something new.
 *
 * Invariants:
 * 1. What is to be made counts as taken from when its room was looked at until it is there, so that many at once do not all
 *    see the same room.
 * 2. Nobody is refused before what can be given up for it was given up.
 */
import { type DiskMark, markBytes } from "../../domain/disk-mark.js";
import { Failure } from "../../domain/failure.js";
import type { DiskRoom } from "../../domain/usage.js";
import type { FileSystem, HostDisk } from "../../ports/host-disk.js";

export interface DiskMarks {
  readonly low: DiskMark;
  readonly minFree: DiskMark;
}

/** Once: what is held is there now, or will not be. */
export type LetGo = () => void;

/** Gives up what can be, until `isEnough` or there is nothing more. */
export type Evict = (isEnough: () => boolean) => Promise<void>;

/** An answer of the file system is good for so long. */
const freshMs = 250;
/** Recovered is what is so much above the mark: a share of it. */
const slack = 0.05;

export class Disk {
  readonly #disk: HostDisk;
  readonly #marks: DiskMarks;
  readonly #host: string;
  readonly #held = new Map<LetGo, number>();
  #room: DiskRoom = { totalBytes: 0, freeBytes: 0, lowBytes: 0, minFreeBytes: 0 };
  #lookedAt = Number.NEGATIVE_INFINITY;
  #evict: Evict = async () => {};
  #needs: ReadonlyMap<number, number> = new Map();
  /** Below the low mark, and not recovered since. */
  low = false;

  constructor(disk: HostDisk, marks: DiskMarks, host: string) {
    this.#disk = disk;
    this.#marks = marks;
    this.#host = host;
  }

  /** Looks for the first time. Fails with a line for an operator where the marks do not fit the disk. */
  async begin(): Promise<void> {
    const systems = await this.#disk.look();
    for (const { lowBytes, minFreeBytes, totalBytes } of systems.map((system) => this.#judged(system))) {
      if (minFreeBytes <= lowBytes && lowBytes <= totalBytes) continue;
      const key = lowBytes > totalBytes ? "disk_low" : "disk_min_free";
      const limit = lowBytes > totalBytes ? `the whole disk (${totalBytes} bytes)` : `disk_low (${lowBytes} bytes)`;
      throw new Error(`${key}: must not be above ${limit}`);
    }
    await this.look();
  }

  /** Who makes room. */
  servedBy(evict: Evict): void {
    this.#evict = evict;
  }

  /** What a workspace of each repository takes, as far as that is known. */
  expect(needs: ReadonlyMap<number, number>): void {
    this.#needs = needs;
  }

  get room(): DiskRoom {
    return this.#room;
  }

  get recoverBytes(): number {
    return Math.min(Math.ceil(this.#room.lowBytes * (1 + slack)), this.#room.totalBytes);
  }

  async look(maxAgeMs = freshMs): Promise<DiskRoom> {
    if (performance.now() - this.#lookedAt > maxAgeMs) {
      this.#room = worst((await this.#disk.look()).map((system) => this.#judged(system)));
      this.#lookedAt = performance.now();
    }
    return this.#room;
  }

  /** Holds the room that a workspace of the repository takes; undefined where there is none, as far as was last seen. */
  hold(repositoryId: number): LetGo | undefined {
    return this.#isEnough(this.#needs.get(repositoryId) ?? 0) ? this.count(repositoryId) : undefined;
  }

  /** Counts a workspace that is made, whether or not there is room. */
  count(repositoryId: number): LetGo {
    const letGo = () => void this.#held.delete(letGo);
    this.#held.set(letGo, this.#needs.get(repositoryId) ?? 0);
    return letGo;
  }

  /** Makes room for a workspace of the repository (undefined: for whatever is to be made) or fails with DISK_LOW. */
  async require(repositoryId?: number): Promise<void> {
    const bytes = repositoryId === undefined ? 0 : (this.#needs.get(repositoryId) ?? 0);
    await this.look();
    if (this.#isEnough(bytes)) return;
    await this.#evict(() => this.#isEnough(bytes));
    await this.look(0);
    if (!this.#isEnough(bytes)) throw this.failure(repositoryId);
  }

  failure(repositoryId?: number, cause?: unknown): Failure {
    const { freeBytes, minFreeBytes } = this.#room;
    const bytes = repositoryId === undefined ? 0 : (this.#needs.get(repositoryId) ?? 0);
    const needed = bytes + minFreeBytes + this.#taken;
    return new Failure(
      "DISK_LOW",
      `the disk of host ${this.#host} has no room: ${freeBytes} bytes are free, ${needed} are needed`,
      {
        metadata: {
          host: this.#host,
          needed_bytes: String(needed),
          free_bytes: String(freeBytes),
          workspace_bytes: String(bytes),
        },
        retryAfterMs: 5_000,
        cause,
      },
    );
  }

  get #taken(): number {
    let sum = 0;
    for (const bytes of this.#held.values()) sum += bytes;
    return sum;
  }

  #isEnough(bytes: number): boolean {
    const { totalBytes, freeBytes, minFreeBytes } = this.#room;
    // before the first look nothing is known against it
    return totalBytes === 0 || freeBytes - this.#taken - bytes >= minFreeBytes;
  }

  #judged({ totalBytes, freeBytes }: FileSystem): DiskRoom {
    const lowBytes = markBytes(this.#marks.low, totalBytes);
    return { totalBytes, freeBytes, lowBytes, minFreeBytes: markBytes(this.#marks.minFree, totalBytes) };
  }
}

/** The one with the least above its mark. */
function worst(rooms: readonly DiskRoom[]): DiskRoom {
  const [first, ...others] = rooms;
  if (!first) throw new Error("a host without a disk");
  return others.reduce((a, b) => (b.freeBytes - b.lowBytes < a.freeBytes - a.lowBytes ? b : a), first);
}
