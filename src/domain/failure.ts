/**
 * Owns the closed set of failures that a caller can be told of.
 *
 * Invariants:
 * 1. Every failure has exactly one reason, and every reason exactly one code (`failureCodes`).
 * 2. `message`, `metadata` and `fields` are safe to show: no driver's text, no secret, no path outside a workspace.
 *    What an operator needs besides goes into `cause`, which only the log sees.
 */

/** Canonical gRPC status names that Leasehold answers with. */
export type FailureCode =
  | "INVALID_ARGUMENT"
  | "UNAUTHENTICATED"
  | "PERMISSION_DENIED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "FAILED_PRECONDITION"
  | "RESOURCE_EXHAUSTED"
  | "OUT_OF_RANGE"
  | "UNAVAILABLE"
  | "INTERNAL"
  | "DEADLINE_EXCEEDED"
  | "CANCELLED"
  | "ABORTED"
  | "UNIMPLEMENTED";

/** The only table of reasons to codes. `docs/errors.md` is checked against it. */
export const failureCodes = {
  FIELD_INVALID: "INVALID_ARGUMENT",
  REQUEST_ID_REUSED: "INVALID_ARGUMENT",
  UPSTREAM_NOT_ALLOWED: "INVALID_ARGUMENT",
  SELECTOR_REQUIRED: "INVALID_ARGUMENT",
  CREDENTIAL_MISSING: "UNAUTHENTICATED",
  CREDENTIAL_INVALID: "UNAUTHENTICATED",
  ROLE_REQUIRED: "PERMISSION_DENIED",
  TOKEN_INVALID: "PERMISSION_DENIED",
  ORIGIN_NOT_ALLOWED: "PERMISSION_DENIED",
  REPOSITORY_NOT_FOUND: "NOT_FOUND",
  REVISION_NOT_FOUND: "NOT_FOUND",
  WORKSPACE_NOT_FOUND: "NOT_FOUND",
  HOST_NOT_FOUND: "NOT_FOUND",
  REPOSITORY_EXISTS: "ALREADY_EXISTS",
  LEASE_LOST: "FAILED_PRECONDITION",
  LEASE_LIVE: "FAILED_PRECONDITION",
  FENCE_MISMATCH: "FAILED_PRECONDITION",
  REVISION_AMBIGUOUS: "FAILED_PRECONDITION",
  UPSTREAM_DENIED: "FAILED_PRECONDITION",
  STORE_CHANGED: "FAILED_PRECONDITION",
  REPOSITORY_IN_USE: "FAILED_PRECONDITION",
  REPOSITORY_PAUSED: "FAILED_PRECONDITION",
  HOST_IN_USE: "FAILED_PRECONDITION",
  POOL_EXHAUSTED: "RESOURCE_EXHAUSTED",
  WATCH_TOO_SLOW: "RESOURCE_EXHAUSTED",
  MESSAGE_TOO_LARGE: "RESOURCE_EXHAUSTED",
  REVISION_COMPACTED: "OUT_OF_RANGE",
  REVISION_FUTURE: "OUT_OF_RANGE",
  DATABASE_UNAVAILABLE: "UNAVAILABLE",
  UPSTREAM_UNAVAILABLE: "UNAVAILABLE",
  HOST_UNAVAILABLE: "UNAVAILABLE",
  REPOSITORY_FAILED: "UNAVAILABLE",
  DRAINING: "UNAVAILABLE",
  HOST_IO: "INTERNAL",
  INTERNAL: "INTERNAL",
  DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
  CANCELLED: "CANCELLED",
  METHOD_UNKNOWN: "UNIMPLEMENTED",
  SALVAGE_NOT_FOUND: "NOT_FOUND",
  SALVAGE_FAILED: "FAILED_PRECONDITION",
  BINDING_IN_USE: "FAILED_PRECONDITION",
  BINDING_ELSEWHERE: "FAILED_PRECONDITION",
  SESSION_NOT_FOUND: "NOT_FOUND",
  AGENT_NOT_FOUND: "NOT_FOUND",
  BACKEND_SESSION_IN_USE: "ALREADY_EXISTS",
  SESSION_CLOSED: "FAILED_PRECONDITION",
  SUBJECT_MISMATCH: "FAILED_PRECONDITION",
  AGENT_STATE: "FAILED_PRECONDITION",
  VERSION_MISMATCH: "ABORTED",
  SUBJECT_UNKNOWN_FORGE: "INVALID_ARGUMENT",
  DISK_LOW: "RESOURCE_EXHAUSTED",
} as const satisfies Record<string, FailureCode>;

/** Stable name of why a call failed; `ErrorReason` of the proto without its prefix. */
export type FailureReason = keyof typeof failureCodes;

/** One wrong field of a request. */
export interface FieldFault {
  /** Path in the request, in proto (snake_case) names, for instance `labels["x"]`. */
  readonly field: string;
  /** What is wrong with it and what would be right. */
  readonly description: string;
}

export interface FailureOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fields?: readonly FieldFault[];
  /** Set where waiting helps: after how many milliseconds to try again. */
  readonly retryAfterMs?: number;
  /** For the log only. */
  readonly cause?: unknown;
}

/** A failure that a caller is told of. Anything else that is thrown is a defect and answered as INTERNAL. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly reason: FailureReason;
  readonly metadata: Readonly<Record<string, string>>;
  readonly fields: readonly FieldFault[];
  readonly retryAfterMs: number | undefined;

  constructor(reason: FailureReason, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.metadata = options.metadata ?? {};
    this.fields = options.fields ?? [];
    this.retryAfterMs = options.retryAfterMs;
  }

  get code(): FailureCode {
    return failureCodes[this.reason];
  }
}

/** What of a failure is stored, so that a server other than the one that failed can answer with it. */
export interface FailureRecord {
  readonly reason: FailureReason;
  readonly message: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Absent: none. */
  readonly fields?: readonly FieldFault[];
  readonly retryAfterMs?: number;
}

export function toRecord(failure: Failure): FailureRecord {
  const { reason, message, metadata, fields, retryAfterMs } = failure;
  const wrong = fields.length === 0 ? {} : { fields };
  return { reason, message, metadata, ...wrong, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
}

export function fromRecord({ reason, message, ...options }: FailureRecord): Failure {
  return new Failure(reason, message, options);
}

/** The failure that `error` is, or INTERNAL with it as the cause. */
export function asFailure(error: unknown): Failure {
  return error instanceof Failure ? error : new Failure("INTERNAL", "internal error", { cause: error });
}

/** Whether what failed was broken off from outside: that tells nothing of what it was about. */
export function wasBrokenOff({ reason }: Failure): boolean {
  return reason === "DRAINING" || reason === "CANCELLED" || reason === "DATABASE_UNAVAILABLE";
}
