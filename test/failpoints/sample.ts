/** Owns: which of many points a run goes through: all of them in the soak, otherwise others in every run. */

const isSoak = process.env.LEASEHOLD_SOAK !== undefined;
const start = Number(process.env.LEASEHOLD_SEED ?? Date.now() % 1_000);

/** `count` of them, evenly spread, beginning at another one in every run; `LEASEHOLD_SEED` repeats a run's choice. */
export function sample<T>(all: readonly T[], count: number): readonly T[] {
  if (isSoak || all.length <= count) return all;
  return Array.from(
    { length: count },
    (_, index) => all[(start + Math.floor((index * all.length) / count)) % all.length] as T,
  );
}
