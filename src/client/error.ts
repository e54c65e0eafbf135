/**
 * Owns the errors that this client throws.
 *
 * Invariants:
 * 1. Whatever a call ends with is a `LeaseholdError`; a call that its caller aborted ends with the signal's reason.
 * 2. `reason` is the stable name that the server gave; UNSPECIFIED where no server of ours answered,
 *    or one that is newer than this client.
 */
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { ErrorReason } from "../../gen/leasehold/v1/error_reason_pb.js";
import { LeaseEndReason } from "../../gen/leasehold/v1/lease_pb.js";

/** Stable name of why a call failed: `ErrorReason` of the proto without its prefix. */
export type Reason = keyof typeof ErrorReason;

/** Why a lease ended; UNSPECIFIED where no server has said so, or for a reason that this client does not know. */
export type EndReason = keyof typeof LeaseEndReason;

/** Name of a gRPC status. */
export type StatusName = (typeof statusNames)[Code];

export const statusNames = {
  [Code.Canceled]: "CANCELLED",
  [Code.Unknown]: "UNKNOWN",
  [Code.InvalidArgument]: "INVALID_ARGUMENT",
  [Code.DeadlineExceeded]: "DEADLINE_EXCEEDED",
  [Code.NotFound]: "NOT_FOUND",
  [Code.AlreadyExists]: "ALREADY_EXISTS",
  [Code.PermissionDenied]: "PERMISSION_DENIED",
  [Code.ResourceExhausted]: "RESOURCE_EXHAUSTED",
  [Code.FailedPrecondition]: "FAILED_PRECONDITION",
  [Code.Aborted]: "ABORTED",
  [Code.OutOfRange]: "OUT_OF_RANGE",
  [Code.Unimplemented]: "UNIMPLEMENTED",
  [Code.Internal]: "INTERNAL",
  [Code.Unavailable]: "UNAVAILABLE",
  [Code.DataLoss]: "DATA_LOSS",
  [Code.Unauthenticated]: "UNAUTHENTICATED",
} as const satisfies Record<Code, string>;

/** One wrong field of a request. */
export interface FieldFault {
  /** Path in the request, in proto (snake_case) names. */
  readonly field: string;
  readonly description: string;
}

export interface ErrorFacts {
  readonly reason: Reason;
  readonly code: StatusName;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fields?: readonly FieldFault[];
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** Why a call failed. */
export class LeaseholdError extends Error {
  override readonly name: string = "LeaseholdError";
  readonly reason: Reason;
  readonly code: StatusName;
  /** What the server says besides; which keys, depends on the reason (docs/errors.md). */
  readonly metadata: Readonly<Record<string, string>>;
  /** Every wrong field, for FIELD_INVALID. */
  readonly fields: readonly FieldFault[];
  /** After how many milliseconds the server would like to be asked again. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, facts: ErrorFacts) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.reason = facts.reason;
    this.code = facts.code;
    this.metadata = facts.metadata ?? {};
    this.fields = facts.fields ?? [];
    this.retryAfterMs = facts.retryAfterMs;
  }
}

/** The lease has ended, or its deadline has passed without any server having confirmed it. Stop writing. */
export class LeaseLostError extends LeaseholdError {
  override readonly name = "LeaseLostError";
  /** Whether a server said so. If not, none could be reached in time: the lease may live on, but nobody vouches for it. */
  readonly confirmed: boolean;
  readonly endReason: EndReason;

  constructor(message: string, facts: ErrorFacts, confirmed = true) {
    super(message, facts);
    this.confirmed = confirmed;
    this.endReason = endReasonOf(this.metadata);
  }
}

/** Every workspace is in use, and the wait, if any, ran out. */
export class PoolExhaustedError extends LeaseholdError {
  override readonly name = "PoolExhaustedError";
  /** Place in the queue when the wait ran out, from 1; undefined where the server did not say. */
  readonly position: number | undefined;

  constructor(message: string, facts: ErrorFacts) {
    super(message, facts);
    const position = Number.parseInt(this.metadata.position ?? "", 10);
    this.position = Number.isNaN(position) ? undefined : position;
  }
}

/** No server could be reached at the address at all. */
export class UnreachableError extends LeaseholdError {
  override readonly name = "UnreachableError";
}

/** Turns whatever a raw call threw into a `LeaseholdError`. */
export function asLeaseholdError(error: unknown): LeaseholdError {
  if (error instanceof LeaseholdError) return error;
  const raw = ConnectError.from(error);
  const info = raw.findDetails(ErrorInfoSchema).find((detail) => detail.domain === "leasehold");
  const delay = raw.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const facts: ErrorFacts = {
    reason: info !== undefined && info.reason in ErrorReason ? (info.reason as Reason) : "UNSPECIFIED",
    code: statusNames[raw.code],
    metadata: { ...info?.metadata },
    fields: raw
      .findDetails(BadRequestSchema)
      .flatMap((detail) => detail.fieldViolations)
      .map(({ field, description }) => ({ field, description })),
    retryAfterMs: delay === undefined ? undefined : durationMs(delay),
    cause: raw,
  };
  if (facts.reason === "LEASE_LOST") return new LeaseLostError(raw.rawMessage, facts);
  if (facts.reason === "POOL_EXHAUSTED") return new PoolExhaustedError(raw.rawMessage, facts);
  if (info === undefined) {
    const { code, connecting } = systemFailure(raw);
    const lost = { ...facts, code: "UNAVAILABLE" } as const;
    if (connecting) return new UnreachableError(`no server answers (${code})`, lost);
    // Which status a broken connection gives depends on how it broke; it is one thing to the caller.
    const broken = code ?? /^http\/2 stream closed.* code (\w+)/.exec(raw.rawMessage)?.[1];
    if (broken !== undefined) return new LeaseholdError(`the connection to the server broke (${broken})`, lost);
  }
  return new LeaseholdError(raw.rawMessage, facts);
}

/** The operating system's code, if it failed, and whether that was before there was a connection. */
function systemFailure(error: unknown): { readonly code?: string; readonly connecting: boolean } {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    const { code, syscall } = at as NodeJS.ErrnoException;
    if (typeof code !== "string" || !/^E[A-Z0-9_]+$/.test(code)) continue;
    return { code, connecting: unreachableCodes.has(code) || syscall === "connect" };
  }
  return { connecting: false };
}

const unreachableCodes = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ETIMEDOUT",
]);

function endReasonOf(metadata: Readonly<Record<string, string>>): EndReason {
  const name = (metadata.end_reason ?? "").replace(/^LEASE_END_REASON_/, "");
  return name in LeaseEndReason && Number.isNaN(Number(name)) ? (name as EndReason) : "UNSPECIFIED";
}
