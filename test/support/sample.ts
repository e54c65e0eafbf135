/** Owns: which of many points a run goes through: all of them in the soak, otherwise others in every run. */

export const isSoak = process.env.LEASEHOLD_SOAK !== undefined;
const start = Number(process.env.LEASEHOLD_SEED ?? Date.now() % 1_000);

/** `count` of them, evenly spread, beginning at another one in every run; `LEASEHOLD_SEED` repeats a run's choice. */
export function sample<T>(all: readonly T[], count: number): readonly T[] {
  if (isSoak || all.length <= count) return all;
  const step = all.length / count;
  return Array.from({ length: count }, (_, index) => all[(start + Math.floor(index * step)) % all.length] as T);
}

/** Where something is written: there a disk can be full. */
export function writing(points: readonly string[]): readonly string[] {
  return points.filter((point) => / (rename|mkdir|writeFile|write|link|symlink|fsync)Sync/.test(point));
}

/** All of them in the soak; otherwise one, by its turn: where `turn` rises by one, and in the next run, it is another one. */
export function inTurn<T>(all: readonly T[], turn: number): readonly T[] {
  return isSoak ? all : [all[(start + turn) % all.length] as T];
}
