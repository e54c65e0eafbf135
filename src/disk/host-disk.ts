/**
 * Implements the port `HostDisk`.
 *
 * Invariant: the reserve is a plain file of bytes that no file system can leave out or compress; whoever removes it by hand
 * has only made room.
 */
import { randomBytes } from "node:crypto";
import { open, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { FileSystem, HostDisk } from "../ports/host-disk.js";

const chunkBytes = 1024 * 1024;

export class LocalDisk implements HostDisk {
  readonly #dataDir: string;
  readonly #others: readonly string[];
  readonly #reserve: string;

  constructor(dataDir: string, others: readonly string[]) {
    this.#dataDir = dataDir;
    this.#others = others;
    this.#reserve = join(dataDir, "reserve");
  }

  async look(): Promise<readonly [FileSystem, ...FileSystem[]]> {
    const first = await look(this.#dataDir);
    const devices = new Set([(await stat(this.#dataDir)).dev]);
    const others: FileSystem[] = [];
    for (const path of this.#others) {
      const { dev } = await stat(path);
      if (devices.has(dev)) continue;
      devices.add(dev);
      others.push(await look(path));
    }
    return [first, ...others];
  }

  async reserveBytes(): Promise<number> {
    const found = await stat(this.#reserve).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    return found?.size ?? 0;
  }

  async growReserve(bytes: number): Promise<void> {
    const file = await open(this.#reserve, "a", 0o600);
    try {
      for (let left = bytes; left > 0; left -= chunkBytes)
        await file.appendFile(randomBytes(Math.min(chunkBytes, left)));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOSPC" && code !== "EDQUOT") throw error;
    } finally {
      await file.close();
    }
  }

  releaseReserve(): Promise<void> {
    return rm(this.#reserve, { force: true });
  }
}

async function look(path: string): Promise<FileSystem> {
  const { blocks, bavail, bsize } = await statfs(path);
  return { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
}
