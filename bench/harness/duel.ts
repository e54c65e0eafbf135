/** Owns the comparison of two loads: window by window in turns, after both have warmed up. */
import type { Load } from "./closed-loop.js";
import type { Figure, Target } from "./row.js";
import { summarise } from "./samples.js";
import type { Sizes } from "./sizes.js";

export interface Duel {
  readonly what: string;
  readonly peer: string;
  readonly ours: (ms: number) => Promise<Load>;
  readonly theirs: (ms: number) => Promise<Load>;
  /** Of the rates. */
  readonly target: Target;
}

/** The rates, which are judged, and the processor time of the server for each call. */
export async function fight(duel: Duel, { windows, windowMs }: Sizes): Promise<readonly Figure[]> {
  const loads = { ours: [] as Load[], theirs: [] as Load[] };
  await duel.ours(windowMs);
  await duel.theirs(windowMs);
  for (let window = 0; window < windows; window++) {
    loads.ours.push(await duel.ours(windowMs));
    loads.theirs.push(await duel.theirs(windowMs));
  }
  const by = (pick: (load: Load) => number) => ({
    ours: summarise(loads.ours.map(pick)),
    peer: { name: duel.peer, summary: summarise(loads.theirs.map(pick)) },
  });
  return [
    { what: duel.what, unit: "calls/s", ...by((load) => load.callsPerSecond), target: duel.target },
    { what: "processor time of the server for each", unit: "ms", ...by((load) => load.processorMs) },
  ];
}
