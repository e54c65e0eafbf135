/** Owns: what a kind of mischief is. */

export interface Mischief {
  /** What the holder does, in words. */
  readonly name: string;
  /**
   * A bash script in the workspace. `$WORK` is the workspace, `$URL` its upstream, `$OUT` canaries that must stay as they
   * are, `$LANE` a directory of the holder's own, `$PROGRAM` a program that tells when anybody but a holder runs it.
   */
  readonly script: string;
  /** After the next lease was compared: ends processes, unmounts, takes attributes back. `$DATA` is the server's directory. */
  readonly undo?: string;
  /** A command that tells whether this machine can do it; what cannot be done is skipped, and said. */
  readonly needs?: string;
  /**
   * What no service can remove or save: the workspace may be quarantined instead, with a problem that has these words, and
   * is pristine after `undo` and Reset.
   */
  readonly mayQuarantine?: string | RegExp;
}

/** A script as it stands: backslashes are the shell's. */
export const sh = String.raw;
