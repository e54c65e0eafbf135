/** Owns the mapping of rows to the domain: the only place that knows both spellings. */
import type { Event, EventKind } from "../domain/event.js";
import type { Lease, LeaseEndReason } from "../domain/lease.js";
import type { ObjectStorage, Repository } from "../domain/repository.js";
import type { Subject } from "../domain/subject.js";
import type { Workspace, WorkspaceState } from "../domain/workspace.js";
import type { Grant, Timing } from "../ports/lease-store.js";

/** Columns of `lease_rows`, all null where a workspace has no lease. */
export interface LeaseRow {
  lease_workspace: string;
  lease_fence: string;
  lease_repository: string;
  lease_host: string;
  revision: string;
  lease_commit: string;
  holder: string;
  caller: string;
  labels: Record<string, string>;
  source: Grant["source"];
  lease_fetch_time: Date | null;
  timings: Timing[];
  ttl_ms: number;
  remaining_ms: number;
  acquire_time: Date;
  expire_time: Date;
  end_time: Date | null;
  end_reason: LeaseEndReason | null;
  lease_binding: string;
  resolved_commit: string;
  lost_salvage: string;
  lease_subject: Subject | null;
}

export interface WorkspaceRow {
  id: string;
  repository: string;
  host: string;
  path: string;
  state: WorkspaceState;
  version: string;
  fence: string;
  commit_id: string;
  head: string;
  problem: string;
  create_time: Date;
  idle_time: Date | null;
  verify_time: Date | null;
  binding: string;
  /** Not of grants. */
  fingerprint?: string;
  /** Of lists and single look-ups. */
  size_bytes?: string | null;
  size_time?: Date | null;
}

export interface RepositoryRow {
  id: number;
  name: string;
  url: string;
  min_idle: number;
  max_workspaces: number;
  stable_path: boolean;
  credential: string;
  labels: Record<string, string>;
  paused: boolean;
  salvage_ttl_ms: string;
  object_storage: ObjectStorage;
  kill_stragglers: boolean;
  salvage_ignored: string[];
  share_dependencies: boolean;
  idle_ttl_ms: string;
  removing: boolean;
  create_time: Date;
}

export interface EventRow {
  revision: string;
  kind: EventKind;
  repository: string;
  host: string;
  workspace_id: string | null;
  version: string;
  lease_fence: string | null;
  fence: string;
  holder: string;
  caller: string;
  labels: Record<string, string>;
  reason: LeaseEndReason | null;
  previous_state: WorkspaceState | null;
  state: WorkspaceState | null;
  salvage_id: string;
  binding: string;
  session_id: string | null;
  agent: string;
  subject: string;
  detail: string;
  event_time: Date;
}

/** `w17` for 17: what the outside calls a workspace. */
export function workspaceName(id: string | bigint): string {
  return `w${id}`;
}

/** 17 for `w17`, or null for anything else, so that it matches no row. */
export function workspaceNumber(name: string): string | null {
  return /^w[1-9]\d{0,17}$/.test(name) ? name.slice(1) : null;
}

export function toLease(row: LeaseRow): Lease {
  return {
    workspaceId: workspaceName(row.lease_workspace),
    fence: BigInt(row.lease_fence),
    repository: row.lease_repository,
    host: row.lease_host,
    revision: row.revision,
    commit: row.lease_commit,
    holder: row.holder,
    caller: row.caller,
    labels: row.labels,
    acquireTime: row.acquire_time,
    expireTime: row.expire_time,
    remainingMs: row.remaining_ms,
    ttlMs: row.ttl_ms,
    binding: row.lease_binding,
    ...(row.lease_subject ? { subject: row.lease_subject } : {}),
    ...(row.end_time ? { endTime: row.end_time } : {}),
    ...(row.end_reason ? { endReason: row.end_reason } : {}),
  };
}

export function toWorkspace(row: WorkspaceRow, lease?: Lease): Workspace {
  return {
    id: workspaceName(row.id),
    repository: row.repository,
    host: row.host,
    path: row.path,
    state: row.state,
    version: BigInt(row.version),
    fence: BigInt(row.fence),
    commit: row.commit_id,
    head: row.head,
    problem: row.problem,
    binding: row.binding,
    createTime: row.create_time,
    ...(row.idle_time ? { idleTime: row.idle_time } : {}),
    ...(row.verify_time ? { verifyTime: row.verify_time } : {}),
    ...(row.fingerprint ? { fingerprint: row.fingerprint } : {}),
    ...(row.size_time ? { size: { bytes: Number(row.size_bytes), measureTime: row.size_time } } : {}),
    ...(lease ? { lease } : {}),
  };
}

export function toGrant(row: WorkspaceRow & LeaseRow): Grant {
  const lease = toLease(row);
  return {
    lease,
    workspace: toWorkspace(row, lease.endTime ? undefined : lease),
    source: row.source,
    resolvedCommit: row.resolved_commit,
    lostSalvageId: row.lost_salvage,
    timings: row.timings,
    ...(row.lease_fetch_time ? { fetchTime: row.lease_fetch_time } : {}),
  };
}

export function toRepository(row: RepositoryRow): Repository {
  return {
    id: row.id,
    name: row.name,
    url: row.url,
    minIdle: row.min_idle,
    maxWorkspaces: row.max_workspaces,
    stablePath: row.stable_path,
    credential: row.credential,
    labels: row.labels,
    paused: row.paused,
    salvageTtlMs: Number(row.salvage_ttl_ms),
    objectStorage: row.object_storage,
    killStragglers: row.kill_stragglers,
    salvageIgnored: row.salvage_ignored,
    shareDependencies: row.share_dependencies,
    idleTtlMs: Number(row.idle_ttl_ms),
    removing: row.removing,
    createTime: row.create_time,
  };
}

export function toEvent(row: EventRow): Event {
  const workspaceId = row.workspace_id === null ? "" : workspaceName(row.workspace_id);
  return {
    revision: BigInt(row.revision),
    kind: row.kind,
    repository: row.repository,
    host: row.host,
    workspaceId,
    version: BigInt(row.version),
    leaseId: row.lease_fence === null ? "" : `${workspaceId}.${row.lease_fence}`,
    fence: BigInt(row.fence),
    holder: row.holder,
    caller: row.caller,
    labels: row.labels,
    ...(row.reason ? { reason: row.reason } : {}),
    ...(row.previous_state ? { previousState: row.previous_state } : {}),
    ...(row.state ? { state: row.state } : {}),
    salvageId: row.salvage_id,
    binding: row.binding,
    sessionId: row.session_id === null ? "" : `n${row.session_id}`,
    agent: row.agent,
    subject: row.subject,
    detail: row.detail,
    time: row.event_time,
  };
}
