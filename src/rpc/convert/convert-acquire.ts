/** Owns the conversion of what Acquire asks for and answers. */
import { create } from "@bufbuild/protobuf";
import {
  type AcquireRequest,
  type AcquireResponse,
  AcquireResponseSchema,
  WorkspaceSource,
} from "../../../gen/leasehold/v1/workspace_service_pb.js";
import type { Acquired, AcquireInput } from "../../service/services.js";
import { fromDependencies, toDependencyWish } from "./convert-dependencies.js";
import { fromDate, fromMs, optionalMs } from "./convert-time.js";
import { fromLease, fromWorkspace } from "./convert-workspace.js";

/** Longest wait that is granted; more is clamped. */
const maxWaitMs = 24 * 3_600_000;

export function toAcquireInput(request: AcquireRequest): AcquireInput {
  const { requestId, repository, revision, host, holder, labels, branch, author, binding, restoreSalvageId } = request;
  const dependencies = toDependencyWish(request);
  return {
    requestId,
    repository,
    revision,
    host,
    holder,
    ttlMs: optionalMs(request.ttl),
    waitMs: Math.min(optionalMs(request.wait) ?? 0, maxWaitMs),
    labels,
    maxStalenessMs: optionalMs(request.maxStaleness) ?? 0,
    branch,
    binding,
    subject: request.subject?.url ?? "",
    restoreSalvageId,
    ...(dependencies ? { dependencies } : {}),
    ...(author ? { author: { name: author.name, email: author.email } } : {}),
  };
}

/** `elapsedMs`: from the request's arrival until now. */
export function fromAcquired(acquired: Acquired, elapsedMs: number): AcquireResponse {
  const { grant, token, storeId } = acquired;
  const message = create(AcquireResponseSchema, {
    lease: fromLease(grant.lease),
    leaseToken: token,
    workspace: fromWorkspace(grant.workspace),
    resolvedCommit: grant.resolvedCommit,
    lostSalvageId: grant.lostSalvageId,
    source: WorkspaceSource[grant.source],
    elapsed: fromMs(elapsedMs),
    timings: grant.timings.map(({ step, ms }) => ({ step, duration: fromMs(ms) })),
    storeId,
  });
  if (grant.workspace.verifyTime) message.verifyTime = fromDate(grant.workspace.verifyTime);
  if (grant.dependencies) message.dependencies = fromDependencies(grant.dependencies);
  if (grant.fetchTime) message.fetchTime = fromDate(grant.fetchTime);
  return message;
}
