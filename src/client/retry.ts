/**
 * Owns what is tried again, and when.
 *
 * Invariants:
 * 1. Only what says nothing about the request itself is tried again: connections that break, servers that
 *    drain or cannot reach their database or host.
 * 2. Pauses grow, are capped and jittered, and are never shorter than the server asked for.
 */
import { setTimeout as pause } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import { asLeaseholdError, type LeaseholdError, type Reason, type StatusName, UnreachableError } from "./error.js";

/** Longest pause, in milliseconds, unless the server asks for a longer one. */
const longestPause = 5_000;

/** A call that ran this long before it failed, in milliseconds, was heard: patience begins anew. */
const heardAfter = 10_000;

const transientReasons: ReadonlySet<Reason> = new Set<Reason>([
  "DRAINING",
  "DATABASE_UNAVAILABLE",
  "HOST_UNAVAILABLE",
  "WATCH_TOO_SLOW",
]);

/** Codes that are about the request, whoever answered it: the same request gets the same answer. */
const permanentCodes: ReadonlySet<StatusName> = new Set<StatusName>([
  "INVALID_ARGUMENT",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "UNAUTHENTICATED",
  "FAILED_PRECONDITION",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
]);

/** Whether the same call may well succeed a little later. */
export function isTransient(error: LeaseholdError): boolean {
  if (error.reason !== "UNSPECIFIED") return transientReasons.has(error.reason);
  if (wasAnswered(error)) return error.code === "UNAVAILABLE" || error.code === "ABORTED";
  // No answer came: the connection broke, in one of many ways.
  return !permanentCodes.has(error.code);
}

/** Whether somebody answered, be it a proxy; what a broken connection throws carries no headers. */
function wasAnswered(error: LeaseholdError): boolean {
  return error.cause instanceof ConnectError && !error.cause.metadata.entries().next().done;
}

/** Milliseconds to pause before attempt `failures` + 1; `failures` is 1 or more. */
export function pauseAfter(failures: number, error?: LeaseholdError, longest = longestPause): number {
  const full = Math.min(longest, 100 * 2 ** Math.min(failures - 1, 16));
  const jittered = full / 2 + (full / 2) * Math.random();
  return Math.max(jittered, error?.retryAfterMs ?? 0);
}

export interface Patience {
  /** Gives up at once, with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** `performance.now()` at which to give up; undefined: never. */
  readonly deadline?: number | undefined;
  /** How long to go on trying while calls fail, in milliseconds. */
  readonly retryMs: number;
  /** The same until a server was reached for the first time. */
  readonly connectMs: number;
  /** Told of each failure that is tried again. */
  readonly onRetry?: ((error: LeaseholdError, pauseMs: number) => void) | undefined;
}

/** Calls `attempt` until it succeeds, fails for good, or patience ends; then throws the last failure. */
export async function persist<T>(attempt: () => Promise<T>, patience: Patience): Promise<T> {
  const { signal, deadline = Number.POSITIVE_INFINITY } = patience;
  let reached = false;
  let failures = 0;
  let since = performance.now();
  for (;;) {
    signal?.throwIfAborted();
    const begun = performance.now();
    try {
      return await attempt();
    } catch (thrown) {
      signal?.throwIfAborted();
      const error = asLeaseholdError(thrown);
      if (!isTransient(error)) throw error;
      const now = performance.now();
      const heard = !(error instanceof UnreachableError);
      reached ||= heard;
      if (failures === 0 || (heard && now - begun > heardAfter)) {
        since = now;
        failures = 0;
      }
      failures++;
      const pauseMs = pauseAfter(failures, error);
      const patienceMs = reached ? patience.retryMs : patience.connectMs;
      if (now + pauseMs - since > patienceMs || now + pauseMs >= deadline) throw error;
      patience.onRetry?.(error, pauseMs);
      await sleep(pauseMs, signal);
    }
  }
}

/** Waits; ends early with the signal's reason. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await pause(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}
