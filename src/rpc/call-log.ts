/**
 * Owns the log of calls: one line for each, and for a stream one at its begin besides.
 *
 * Invariants:
 * 1. A line has names and outcomes only: no field of a message but lease and workspace ids, and these only if
 *    they look like such, so that a secret in the wrong field is not logged.
 * 2. The cause of an INTERNAL failure is logged here and told nowhere else.
 */
import type { DescMethod } from "@bufbuild/protobuf";
import type { Interceptor, StreamRequest, UnaryRequest } from "@connectrpc/connect";
import { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Failure } from "../domain/failure.js";
import { parseLeaseId } from "../domain/lease.js";
import type { Log } from "../log.js";
import { arrivalKey, callerKey, requestIdKey } from "./call.js";
import { toFailure } from "./errors.js";
import { observed } from "./messages.js";

type Request = UnaryRequest | StreamRequest;

/** Calls of these services are many and say little: they are logged at `debug`. */
const quietServices = /^grpc\.(health|reflection)\./;
/** Heartbeats are as many; one that fails says something. */
const quietSuccess: DescMethod = WorkspaceService.method.heartbeat;

export function callLog(log: Log): Interceptor {
  return (next) => async (request) => {
    const level = levelsOf(request.method);
    const subjects: Record<string, string> = {};
    const finish = (error: unknown, dropped = false) => logEnd(log, level, request, subjects, error, dropped);
    try {
      if (!request.stream) noteSubjects(request.message, subjects);
      const response = await next(request);
      if (!response.stream) {
        noteSubjects(response.message, subjects);
        finish(undefined);
        return response;
      }
      log[level.done](describe(request), "stream began");
      const ended = ({ error, dropped }: { error?: unknown; dropped: boolean }) => finish(error, dropped);
      return { ...response, message: observed(response.message, { ended }) };
    } catch (error) {
      finish(error);
      throw error;
    }
  };
}

type Level = "info" | "debug";

interface Levels {
  readonly done: Level;
  readonly failed: Level;
}

const quiet: Levels = { done: "debug", failed: "debug" };
const loud: Levels = { done: "info", failed: "info" };
const loudInFailure: Levels = { done: "debug", failed: "info" };

function levelsOf(method: DescMethod): Levels {
  if (quietServices.test(method.parent.typeName)) return quiet;
  return method === quietSuccess ? loudInFailure : loud;
}

function describe(request: Request) {
  const values = request.contextValues;
  return {
    request_id: values.get(requestIdKey),
    method: `${request.service.typeName}/${request.method.name}`,
    protocol: protocolOf(request.header),
    caller: values.get(callerKey)?.name ?? "",
  };
}

function logEnd(
  log: Log,
  level: Levels,
  request: Request,
  subjects: Readonly<Record<string, string>>,
  error: unknown,
  dropped: boolean,
): void {
  const failure = error === undefined ? undefined : toFailure(error);
  const usual = failure ? level.failed : level.done;
  if (!failure && !log.isLevelEnabled(usual)) return;
  const { time } = request.contextValues.get(arrivalKey);
  const line = {
    ...describe(request),
    ...subjects,
    code: failure?.code ?? (dropped ? "CANCELLED" : "OK"),
    ...(failure && { reason: failure.reason }),
    duration_ms: Math.round((performance.now() - time) * 1000) / 1000,
  };
  if (failure?.code === "INTERNAL") log.error({ ...line, err: failure.cause ?? failure }, "call failed");
  else if (failure?.code === "UNAVAILABLE") log.warn({ ...line, ...problem(failure) }, "call failed");
  else log[usual](line, failure ? "call failed" : "call done");
}

/** What an operator needs to see of an outage. */
function problem(failure: Failure) {
  return { problem: failure.message, ...(failure.cause !== undefined && { err: failure.cause }) };
}

/** Picks the ids of what a message is about. */
function noteSubjects(message: unknown, subjects: Record<string, string>): void {
  const { leaseId, workspaceId, lease, workspace } = message as Record<string, unknown>;
  for (const part of [{ leaseId, workspaceId }, lease, workspace]) {
    if (typeof part !== "object" || part === null) continue;
    const ids = part as { leaseId?: unknown; workspaceId?: unknown };
    if (typeof ids.leaseId === "string" && parseLeaseId(ids.leaseId)) subjects.lease_id = ids.leaseId;
    if (typeof ids.workspaceId === "string" && /^w\d{1,18}$/.test(ids.workspaceId)) {
      subjects.workspace_id = ids.workspaceId;
    }
  }
}

function protocolOf(header: Headers): string {
  const type = header.get("content-type") ?? "";
  if (type.startsWith("application/grpc-web")) return "grpc-web";
  return type.startsWith("application/grpc") ? "grpc" : "connect";
}
