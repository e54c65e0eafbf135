/** Owns how big and how long the benchmark is: in full, or quick to see that it works and where it stands. */

export interface Sizes {
  /** Files of the big repository, and of the small one it is compared with. */
  readonly bigFiles: number;
  readonly smallFiles: number;
  /** Rounds of what takes milliseconds, and of what takes seconds. */
  readonly quickRounds: number;
  readonly slowRounds: number;
  /** How long each window of a rate is, and how many there are for each side. */
  readonly windowMs: number;
  readonly windows: number;
  readonly watchers: number;
  readonly watchSeconds: number;
  /** Workspaces in the crowded database, and in the one it is compared with. */
  readonly crowd: number;
  readonly few: number;
}

export const full: Sizes = {
  bigFiles: 50_000,
  smallFiles: 500,
  quickRounds: 40,
  slowRounds: 5,
  windowMs: 1_500,
  windows: 5,
  watchers: 500,
  watchSeconds: 10,
  crowd: 100_000,
  few: 1_000,
};

export const quick: Sizes = {
  ...full,
  bigFiles: 5_000,
  quickRounds: 20,
  slowRounds: 3,
  windowMs: 700,
  windows: 3,
  watchSeconds: 4,
  crowd: 20_000,
};
