/** Owns what packs a mirror has: their names, sizes and how many objects are in each; and where another one is made. */
import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";

const staging = "leasehold-merge";
/** Where the last entry of an index's table of first bytes is, which is the number of all. */
const countAt = 8 + 255 * 4;

export interface Pack {
  /** Without its ending. */
  readonly name: string;
  readonly bytes: number;
}

/** A directory in the mirror for packs that are being made: one at a time. */
export function placeOf(mirror: string): string {
  return join(mirror, staging);
}

export function packDirectory(repository: string): string {
  return join(repository, "objects", "pack");
}

/** Smallest first; whole pairs only. */
export function packsOf(repository: string): readonly Pack[] {
  const directory = packDirectory(repository);
  const names = new Set(readdirSync(directory));
  return [...names]
    .filter((name) => /^pack-[0-9a-f]{40}\.idx$/.test(name) && names.has(name.replace(/idx$/, "pack")))
    .map((name) => name.slice(0, -".idx".length))
    .map((name) => ({ name, bytes: statSync(join(directory, `${name}.pack`)).size }))
    .sort((a, b) => a.bytes - b.bytes);
}

export function countObjects(repository: string, pack: string): number {
  const file = openSync(join(packDirectory(repository), `${pack}.idx`), "r");
  try {
    const bytes = Buffer.alloc(4);
    if (readSync(file, bytes, 0, 4, countAt) !== 4) throw new Error(`${pack}.idx is too short`);
    return bytes.readUInt32BE(0);
  } finally {
    closeSync(file);
  }
}
