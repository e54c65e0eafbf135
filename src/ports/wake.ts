/**
 * The port to hints that the store has changed, within this process and across servers.
 *
 * A hint may be lost, late, or for nothing: whoever waits also looks by itself once a second.
 */
export interface Wake {
  /** Something was changed: wakes this process at once and the other servers soon. */
  hint(): void;
  /** Calls back at every hint, from wherever it came. Answers how to stop that. */
  onHint(listener: () => void): () => void;
}
