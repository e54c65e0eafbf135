/** Owns: what a kind of mischief is. */

export interface Mischief {
  /** What the holder does, in words. */
  readonly name: string;
  /**
   * A bash script in the workspace. `$WORK` is the workspace, `$URL` its upstream, `$OUT` canaries that must stay as they
   * are, `$LANE` a directory of the holder's own, `$PROGRAM` a program that tells when anybody but a holder runs it.
   */
  readonly script: string;
  /** After the next lease was compared: ends processes, unmounts, takes attributes back. */
  readonly undo?: string;
  /** A command that tells whether this machine can do it; what cannot be done is skipped, and said. */
  readonly needs?: string;
  /** The workspace cannot be made pristine: it is quarantined with a problem that has this word, and clean after `undo` and Reset. */
  readonly quarantined?: string;
}

/** A script as it stands: backslashes are the shell's. */
export const sh = String.raw;
