/** Owns what the service knows of a call besides its message. */
import type { Caller } from "../domain/caller.js";

/** What is known of the call besides its message. */
export interface CallContext {
  readonly caller: Caller;
  /** Aborts when the caller has gone, its deadline has passed, or the server gives up on draining. */
  readonly signal: AbortSignal;
  /** `performance.now()` at the request's arrival. */
  readonly arrival: number;
  /** Milliseconds from now until the call's own deadline; undefined without one. */
  readonly timeLeftMs: () => number | undefined;
}
