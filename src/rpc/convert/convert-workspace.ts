/** Owns the conversion of workspaces, leases and what Reclaim and Reset did to them, from domain to proto. */
import { create } from "@bufbuild/protobuf";
import { LeaseEndReason, type Lease as LeaseMessage, LeaseSchema } from "../../../gen/leasehold/v1/lease_pb.js";
import {
  type Workspace as WorkspaceMessage,
  WorkspaceSchema,
  WorkspaceState,
} from "../../../gen/leasehold/v1/workspace_pb.js";
import {
  WorkspaceAction,
  type WorkspaceResult as WorkspaceResultMessage,
  WorkspaceResultSchema,
} from "../../../gen/leasehold/v1/workspace_service_pb.js";
import { type Lease, leaseId } from "../../domain/lease.js";
import type { WorkspaceState as State, Workspace, WorkspaceResult } from "../../domain/workspace.js";
import { fromSalvage } from "./convert-salvage.js";
import { fromSubject } from "./convert-subject.js";
import { fromDate, fromMs } from "./convert-time.js";

const branchPrefix = "refs/heads/";

export function fromLease(lease: Lease): LeaseMessage {
  const message = create(LeaseSchema, {
    leaseId: leaseId(lease),
    workspaceId: lease.workspaceId,
    fence: lease.fence,
    repository: lease.repository,
    host: lease.host,
    revision: lease.revision,
    commit: lease.commit,
    holder: lease.holder,
    caller: lease.caller,
    labels: { ...lease.labels },
    acquireTime: fromDate(lease.acquireTime),
    expireTime: fromDate(lease.expireTime),
    remaining: fromMs(lease.remainingMs),
    ttl: fromMs(lease.ttlMs),
    binding: lease.binding,
  });
  if (lease.subject) message.subject = fromSubject(lease.subject);
  if (lease.endTime) message.endTime = fromDate(lease.endTime);
  if (lease.endReason) message.endReason = LeaseEndReason[lease.endReason];
  return message;
}

export function fromWorkspace(workspace: Workspace): WorkspaceMessage {
  const { head } = workspace;
  const message = create(WorkspaceSchema, {
    workspaceId: workspace.id,
    repository: workspace.repository,
    host: workspace.host,
    path: workspace.path,
    state: WorkspaceState[workspace.state],
    version: workspace.version,
    commit: workspace.commit,
    branch: head.startsWith(branchPrefix) ? head.slice(branchPrefix.length) : "",
    fence: workspace.fence,
    createTime: fromDate(workspace.createTime),
    problem: workspace.problem,
    binding: workspace.binding,
    fingerprint: workspace.fingerprint ?? "",
  });
  if (workspace.verifyTime) message.verifyTime = fromDate(workspace.verifyTime);
  if (workspace.idleTime) message.idleTime = fromDate(workspace.idleTime);
  if (workspace.size) {
    message.sizeBytes = BigInt(workspace.size.bytes);
    message.sizeTime = fromDate(workspace.size.measureTime);
  }
  if (workspace.lease) message.lease = fromLease(workspace.lease);
  return message;
}

/** The states that a filter names; their values have been checked. */
export function toStates(states: readonly WorkspaceState[]): readonly State[] {
  return states.map((state) => WorkspaceState[state] as State);
}

export function fromResult(result: WorkspaceResult): WorkspaceResultMessage {
  const workspace = result.workspace ? fromWorkspace(result.workspace) : { workspaceId: result.workspaceId };
  const message = create(WorkspaceResultSchema, {
    workspace,
    action: WorkspaceAction[result.action],
    reason: result.reason,
    freedBytes: BigInt(result.action === "REMOVED" ? (result.workspace?.size?.bytes ?? 0) : 0),
  });
  if (result.salvage) message.salvage = fromSalvage(result.salvage);
  return message;
}
