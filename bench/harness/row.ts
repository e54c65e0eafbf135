/**
 * Owns what a row of the benchmark is, and how its figures are judged.
 *
 * Invariants:
 * 1. Ours and the peer's samples of one figure come from one run, in turns, so that a busy machine hurts both.
 * 2. A figure is judged by what its target names and by nothing else; one without a target is only printed.
 */
import type { Bench } from "./bench.js";
import type { Summary } from "./samples.js";

/** What is compared with the target. `ratio` is ours / peer's, by medians. */
export type Judged = "ratio" | "median" | "p99" | "max";

export interface Target {
  readonly of: Judged;
  readonly limit: number;
  readonly is: "at most" | "at least";
}

export interface Figure {
  /** What was measured, for people. */
  readonly what: string;
  readonly unit: "ms" | "calls/s" | "MB" | "";
  readonly ours: Summary;
  readonly peer?: { readonly name: string; readonly summary: Summary };
  readonly target?: Target;
}

export interface Row {
  /** How it is selected on the command line. */
  readonly name: string;
  /** One line. */
  readonly title: string;
  run(bench: Bench): Promise<readonly Figure[]>;
}

export interface Verdict {
  readonly ratio: number | undefined;
  /** Undefined without a target. */
  readonly met: boolean | undefined;
}

export function judge(figure: Figure): Verdict {
  const { ours, peer, target } = figure;
  const ratio = peer && peer.summary.median > 0 ? ours.median / peer.summary.median : undefined;
  if (!target) return { ratio, met: undefined };
  const value = target.of === "ratio" ? ratio : ours[target.of];
  if (value === undefined || Number.isNaN(value)) return { ratio, met: false };
  return { ratio, met: target.is === "at most" ? value <= target.limit : value >= target.limit };
}
