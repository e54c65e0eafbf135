/**
 * Owns the exit codes of the command line. docs/cli.md has the same table.
 *
 * Invariants:
 * 1. A code is never given another meaning.
 * 2. `run` uses its command's own status; what fails besides has a code of `runExit`, from 120 on, so that
 *    it is not taken for the command's.
 */
import type { LeaseholdError } from "../client/index.js";

export const exitCodes = {
  ok: 0,
  /** A defect, or something that fits nowhere else. */
  internal: 1,
  /** The command line, or a field of the request, is wrong. */
  usage: 2,
  notFound: 3,
  /** The state of things does not allow it: a lease lives, a fence differs, a name is taken. */
  conflict: 4,
  leaseLost: 5,
  /** No workspace is free, or another limit was reached. */
  exhausted: 6,
  /** No server answers, or what it needs is away. */
  unavailable: 7,
  /** Not authenticated, or not allowed. */
  denied: 8,
  /** No answer in time. */
  deadline: 9,
  /** Events that are no longer kept, or not written yet. */
  outOfRange: 10,
} as const;

export const runExit = {
  leaseLost: 120,
  exhausted: 121,
  unavailable: 122,
  denied: 123,
  /** Any other failure of ours; also a wrong command line. */
  failed: 125,
  /** The command is there, but cannot be run. */
  cannotRun: 126,
  /** There is no such command. */
  noCommand: 127,
  /** Plus the signal's number: the command was ended by it. */
  signal: 128,
} as const;

/** Ends a command with a message on standard error and an exit code of ours. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The exit code of a command, other than `run`, that failed with `error`. */
export function exitCodeOf(error: LeaseholdError): number {
  if (error.reason === "LEASE_LOST") return exitCodes.leaseLost;
  switch (error.code) {
    case "INVALID_ARGUMENT":
      return exitCodes.usage;
    case "NOT_FOUND":
      return exitCodes.notFound;
    case "ALREADY_EXISTS":
    case "FAILED_PRECONDITION":
    case "ABORTED":
      return exitCodes.conflict;
    case "RESOURCE_EXHAUSTED":
      return exitCodes.exhausted;
    case "UNAVAILABLE":
      return exitCodes.unavailable;
    case "UNAUTHENTICATED":
    case "PERMISSION_DENIED":
      return exitCodes.denied;
    case "DEADLINE_EXCEEDED":
      return exitCodes.deadline;
    case "OUT_OF_RANGE":
      return exitCodes.outOfRange;
    default:
      return exitCodes.internal;
  }
}

/** The exit code of `run` where it fails before, or instead of, its command. */
export function runExitCodeOf(error: LeaseholdError): number {
  switch (exitCodeOf(error)) {
    case exitCodes.leaseLost:
      return runExit.leaseLost;
    case exitCodes.exhausted:
      return runExit.exhausted;
    case exitCodes.unavailable:
      return runExit.unavailable;
    case exitCodes.denied:
      return runExit.denied;
    default:
      return runExit.failed;
  }
}
