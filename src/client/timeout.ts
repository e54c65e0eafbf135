/** Owns how long one call may take. It loads nothing, for the command line. */

/** A duration as the wire takes it: whole milliseconds, at least one, at most 8 digits. */
export function timeout(ms: number): number {
  return Math.min(99_999_999, Math.max(1, Math.ceil(ms)));
}
