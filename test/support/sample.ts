/**
 * Owns: which of many points a run goes through, and other choices: all points in the soak, otherwise others in every run.
 *
 * 1. A file that chooses prints its seed, once; `LEASEHOLD_SEED` repeats it.
 */

export const isSoak = process.env.LEASEHOLD_SOAK !== undefined;
const start = Number(process.env.LEASEHOLD_SEED ?? Date.now() % 1_000);
let isTold = false;
let state = start;

function tellSeed(): void {
  if (isTold) return;
  isTold = true;
  process.stderr.write(`the choices of this file are repeated by LEASEHOLD_SEED=${start}\n`);
}

/** `count` of them, evenly spread, beginning at another one in every run; `LEASEHOLD_SEED` repeats a run's choice. */
export function sample<T>(all: readonly T[], count: number): readonly T[] {
  if (isSoak || all.length <= count) return all;
  tellSeed();
  const step = all.length / count;
  return Array.from({ length: count }, (_, index) => all[(start + Math.floor(index * step)) % all.length] as T);
}

/** Where something is written: there a disk can be full. */
export function writing(points: readonly string[]): readonly string[] {
  return points.filter((point) => / (rename|mkdir|writeFile|write|link|symlink|fsync)Sync/.test(point));
}

/** All of them in the soak; otherwise one, by its turn: where `turn` rises by one, and in the next run, it is another one. */
export function inTurn<T>(all: readonly T[], turn: number): readonly T[] {
  if (isSoak) return all;
  tellSeed();
  return [all[(start + turn) % all.length] as T];
}

/** A number from 0 to below `limit`: another one at every call and in every run. */
export function chance(limit: number): number {
  tellSeed();
  // mulberry32
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return (((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit;
}
