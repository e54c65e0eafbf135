/** Owns how a worker tells that it failed. */
import { tellsHostFault } from "../../host-fault.js";
import type { Fault } from "../../protocol.js";

/** A failure whose kind the worker knows. */
export class WorkerFault extends Error {
  override readonly name = "WorkerFault";
  readonly kind: NonNullable<Fault["kind"]>;
  readonly candidates: readonly string[] | undefined;

  constructor(kind: NonNullable<Fault["kind"]>, message: string, candidates?: readonly string[]) {
    super(message);
    this.kind = kind;
    this.candidates = candidates;
  }
}

export function toFault(error: unknown): Fault {
  if (!(error instanceof Error)) return { message: String(error) };
  const { code, errno } = error as NodeJS.ErrnoException;
  const kind = error instanceof WorkerFault ? error.kind : hidesHostFault(error) ? "host-io" : undefined;
  return {
    message: error.message,
    ...(kind && { kind }),
    ...(error instanceof WorkerFault && error.candidates && { candidates: error.candidates }),
    ...(typeof code === "string" && { code }),
    ...(typeof errno === "number" && { errno }),
    ...(error.stack !== undefined && { stack: error.stack }),
  };
}

/** Whether this host's disk or its limits are at fault: trying another way would fail as well. */
export function isHostFault(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return hidesHostFault(error) || tellsHostFault(error as NodeJS.ErrnoException);
}

/**
 * Node tells ENOENT where a parent could not be made on a read-only file system. Parents are made here wherever a
 * directory is, so nothing else is ever told so.
 */
function hidesHostFault(error: Error): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return code === "ENOENT" && syscall === "mkdir";
}
