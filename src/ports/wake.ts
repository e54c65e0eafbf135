/**
 * The port to hints that the store has changed, within this process and across servers.
 *
 * A hint may be lost, late, or for nothing: whoever waits also looks by itself once a second.
 */
export interface Wake {
  /** Something was changed: wakes this process next and the other servers soon. Hints of one moment become one. */
  hint(): void;
  /** Calls back at every hint. Answers how to stop that. */
  onHint(listener: (from: HintOrigin) => void): () => void;
}

/** `elsewhere`: another server changed something, or hints may have been lost. */
export type HintOrigin = "here" | "elsewhere";
