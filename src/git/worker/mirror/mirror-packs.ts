/** Owns what packs a mirror has: their names, sizes and how many objects are in each; and where another one is made. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";

const staging = "leasehold-merge";
const idsAt = 8 + 256 * 4;
const idBytes = 20;
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

/** How many objects are in the packs, each counted once wherever it is. */
export function countDistinct(repository: string, packs: readonly Pack[]): number {
  let rest = packs.map(({ name }) => {
    const index = readFileSync(join(packDirectory(repository), `${name}.idx`));
    return { ids: index.subarray(idsAt, idsAt + index.readUInt32BE(countAt) * idBytes), at: 0 };
  });
  let count = 0;
  // the ids of each are in order
  for (; ; count++) {
    rest = rest.filter(({ ids, at }) => at < ids.length);
    const [first, ...others] = rest;
    if (!first) return count;
    let least = first;
    for (const one of others) {
      if (one.ids.compare(least.ids, least.at, least.at + idBytes, one.at, one.at + idBytes) < 0) least = one;
    }
    const id = least.ids.subarray(least.at, least.at + idBytes);
    for (const one of rest) {
      if (id.compare(one.ids, one.at, one.at + idBytes) === 0) one.at += idBytes;
    }
  }
}
