/**
 * Owns how failures look on the wire: status code, `google.rpc.ErrorInfo`, `BadRequest` and `RetryInfo`.
 *
 * Invariants:
 * 1. Every error that leaves the server carries one ErrorInfo of the domain `leasehold`.
 * 2. Texts of defects (anything thrown that is no Failure) never leave; they are kept as the cause, for the log.
 */
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { asFailure, Failure, type FailureCode, type FailureReason } from "../domain/failure.js";

export const errorDomain = "leasehold";

/** The connect code of each status name. */
export const connectCodes: Readonly<Record<FailureCode, Code>> = {
  INVALID_ARGUMENT: Code.InvalidArgument,
  UNAUTHENTICATED: Code.Unauthenticated,
  PERMISSION_DENIED: Code.PermissionDenied,
  NOT_FOUND: Code.NotFound,
  ALREADY_EXISTS: Code.AlreadyExists,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  OUT_OF_RANGE: Code.OutOfRange,
  UNAVAILABLE: Code.Unavailable,
  INTERNAL: Code.Internal,
  DEADLINE_EXCEEDED: Code.DeadlineExceeded,
  CANCELLED: Code.Canceled,
  ABORTED: Code.Aborted,
  UNIMPLEMENTED: Code.Unimplemented,
};

/** Reasons of errors that connect makes by itself: a body that cannot be read, an unknown method, a limit. */
const ownReasons: ReadonlyMap<Code, FailureReason> = new Map([
  [Code.InvalidArgument, "FIELD_INVALID"],
  [Code.ResourceExhausted, "MESSAGE_TOO_LARGE"],
  [Code.Canceled, "CANCELLED"],
  [Code.Aborted, "CANCELLED"],
  [Code.DeadlineExceeded, "DEADLINE_EXCEEDED"],
  [Code.Unimplemented, "METHOD_UNKNOWN"],
  [Code.Unavailable, "DRAINING"],
  // health's word for a service that it does not know
  [Code.NotFound, "METHOD_UNKNOWN"],
]);

export function toConnectError(failure: Failure): ConnectError {
  const { reason, message, metadata, fields, retryAfterMs } = failure;
  const error = new ConnectError(message, connectCodes[failure.code], undefined, undefined, failure);
  error.details.push({
    desc: ErrorInfoSchema,
    value: { reason, domain: errorDomain, metadata: { ...metadata } },
  });
  if (fields.length > 0) {
    error.details.push({
      desc: BadRequestSchema,
      value: { fieldViolations: fields.map(({ field, description }) => ({ field, description })) },
    });
  }
  if (retryAfterMs !== undefined) {
    error.details.push({
      desc: RetryInfoSchema,
      value: { retryDelay: durationFromMs(Math.max(0, Math.ceil(retryAfterMs))) },
    });
  }
  return error;
}

/** The failure that anything thrown is. Connect's own errors keep their text, which speaks of the request only. */
export function toFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (!(error instanceof ConnectError)) return asFailure(error);
  if (error.cause instanceof Failure) return error.cause;
  const isUnreadable = error.code === Code.Internal && unreadable.test(error.rawMessage);
  const reason = isUnreadable ? "FIELD_INVALID" : ownReasons.get(error.code);
  if (reason === undefined) return asFailure(error);
  return new Failure(reason, error.rawMessage || reason, { cause: error });
}

/** Connect calls these INTERNAL, as gRPC does, though it is the request that is wrong. */
const unreadable = /^(parse binary|invalid envelope|received compressed envelope)/;

/** What a caller is told of anything thrown. */
export function translated(error: unknown): ConnectError {
  return error instanceof ConnectError && isComplete(error) ? error : toConnectError(toFailure(error));
}

/** Whether the error was made by `toConnectError`, and so is complete. */
export function isComplete(error: ConnectError): boolean {
  return error.details.some((detail) =>
    "desc" in detail ? detail.desc.typeName === ErrorInfoSchema.typeName : detail.type === ErrorInfoSchema.typeName,
  );
}
