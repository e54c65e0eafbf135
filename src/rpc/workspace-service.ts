/**
 * Owns the handlers of WorkspaceService: convert, call the service, convert.
 *
 * Invariants:
 * 1. An Acquire whose answer cannot reach its caller gives the lease up again.
 * 2. A Watch hands the call's signal on, by which the service ends its stream even while nothing happens.
 */
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  type AcquireRequest,
  type AcquireResponse,
  type ListActiveRequest,
  ListActiveRequestSchema,
  type ReclaimRequest,
  type ResetRequest,
  type WatchRequest,
  WorkspaceService,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { Failure } from "../domain/failure.js";
import type { Log } from "../log.js";
import type { ReclaimSelector, ResetSelector, WorkspaceFilter } from "../ports/lease-store.js";
import type { Acquired, Workspaces } from "../service/services.js";
import { arrivalKey, callContext } from "./call.js";
import { fromAcquired, toAcquireInput } from "./convert/convert-acquire.js";
import { fromReleased, toDisposition } from "./convert/convert-release.js";
import { optionalMs } from "./convert/convert-time.js";
import { toWatchInput, watchEnvelopes, watchMessages } from "./convert/convert-watch.js";
import { fromLease, fromResult, fromWorkspace, toStates } from "./convert/convert-workspace.js";
import type { EnvelopeStream } from "./direct/direct-calls.js";
import { grantPageSize } from "./limits/page-size.js";
import { decodePageToken, encodePageToken } from "./limits/page-token.js";

export function workspaceService(workspaces: Workspaces, log: Log): ServiceImpl<typeof WorkspaceService> {
  return {
    acquire: (request, context) => acquire(workspaces, log, request, context),
    heartbeat: async ({ leaseId, leaseToken, ttl, dependenciesInstalled }, context) => ({
      lease: fromLease(
        await workspaces.heartbeat(leaseId, leaseToken, optionalMs(ttl), callContext(context), dependenciesInstalled),
      ),
    }),
    release: async ({ leaseId, leaseToken, disposition, waitForClean, dependenciesInstalled }, context) => {
      const input = {
        leaseId,
        token: leaseToken,
        disposition: toDisposition(disposition),
        waitForClean,
        dependenciesInstalled,
      };
      return fromReleased(await workspaces.release(input, callContext(context)));
    },
    listActive: (request, context) => listActive(workspaces, request, context),
    getWorkspace: async ({ workspaceId }, context) => ({
      workspace: fromWorkspace(await workspaces.get(workspaceId, callContext(context))),
    }),
    reclaim: async (request, context) => ({
      results: (await workspaces.reclaim(toReclaimSelector(request), callContext(context))).map(fromResult),
    }),
    reset: async (request, context) => ({
      results: (await workspaces.reset(toResetSelector(request), callContext(context))).map(fromResult),
    }),
    watch: (request, context) => watchMessages(watch(workspaces, request, context)),
  };
}

/** Watch as bytes that all watchers share. */
export function watchStream(workspaces: Workspaces): EnvelopeStream {
  return {
    method: WorkspaceService.method.watch,
    open: (request, context) => watchEnvelopes(watch(workspaces, request as WatchRequest, context)),
  };
}

function watch(workspaces: Workspaces, request: WatchRequest, context: HandlerContext) {
  return workspaces.watch(toWatchInput(request), callContext(context));
}

async function acquire(
  workspaces: Workspaces,
  log: Log,
  request: AcquireRequest,
  context: HandlerContext,
): Promise<AcquireResponse> {
  const call = callContext(context);
  const acquired = await workspaces.acquire(toAcquireInput(request), call);
  const giveUp = () => giveBack(acquired, log);
  if (context.signal.aborted) {
    await giveUp();
    throw new Failure("CANCELLED", "the caller had gone before the lease could be answered");
  }
  const { delivery } = context.values.get(arrivalKey);
  delivery.onLost(() => void giveUp());
  delivery.onWritten(acquired.delivered);
  return fromAcquired(acquired, performance.now() - call.arrival);
}

/** A failure here is no harm: the lease ends by its time to live. */
async function giveBack(acquired: Acquired, log: Log): Promise<void> {
  const lease = `${acquired.grant.lease.workspaceId}.${acquired.grant.lease.fence}`;
  try {
    await acquired.undelivered();
    log.info({ lease }, "lease given up: its answer could not be delivered");
  } catch (error) {
    log.warn({ lease, err: error }, "an undelivered lease could not be given up; it will expire");
  }
}

async function listActive(workspaces: Workspaces, request: ListActiveRequest, context: HandlerContext) {
  const start = decodePageToken(ListActiveRequestSchema, request) ?? { after: "", revision: 0n };
  const pageSize = grantPageSize(request.pageSize);
  const list = await workspaces.list({ filter: toFilter(request), pageSize, after: start.after }, callContext(context));
  const revision = start.after === "" ? list.revision : start.revision;
  const last = list.workspaces.at(-1);
  const next = list.more && last ? encodePageToken(ListActiveRequestSchema, request, { after: last.id, revision }) : "";
  return { workspaces: list.workspaces.map(fromWorkspace), nextPageToken: next, revision, storeId: list.storeId };
}

function toFilter({
  repository,
  holder,
  host,
  labels,
  workspaceId,
  leaseId,
  binding,
  subject,
  states,
}: ListActiveRequest): WorkspaceFilter {
  return {
    ...(repository && { repository }),
    ...(holder && { holder }),
    ...(host && { host }),
    ...(Object.keys(labels).length > 0 && { labels }),
    ...(workspaceId && { workspaceId }),
    ...(leaseId && { leaseId }),
    ...(binding && { binding }),
    ...(subject && { subject }),
    states: states.length > 0 ? toStates(states) : ["LEASED"],
  };
}

function toReclaimSelector(request: ReclaimRequest): ReclaimSelector {
  const { repository, host, includeParked, leaseIds, workspaceIds, dryRun } = request;
  const olderThanMs = optionalMs(request.olderThan);
  return {
    ...(repository && { repository }),
    ...(host && { host }),
    ...(olderThanMs !== undefined && { olderThanMs }),
    includeParked,
    leaseIds,
    workspaceIds,
    dryRun,
  };
}

function toResetSelector({
  workspaceId,
  repository,
  binding,
  expectedFence,
  force,
  abandonWork,
}: ResetRequest): ResetSelector {
  return {
    ...(workspaceId && { workspaceId }),
    ...(repository && { repository }),
    ...(binding && { binding }),
    ...(expectedFence > 0n && { expectedFence }),
    force,
    abandonWork,
  };
}
