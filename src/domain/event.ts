/**
 * Owns the kinds of events and what an event tells.
 *
 * Invariants:
 * 1. Revisions are consecutive integers from 1, without gaps.
 * 2. Of one workspace, events come in the order of its versions.
 */
import type { LeaseEndReason } from "./lease.js";
import type { WorkspaceState } from "./workspace.js";

export const eventKinds = [
  "WORKSPACE_CREATED",
  "WORKSPACE_READY",
  "WORKSPACE_CLAIMED",
  "LEASE_ACQUIRED",
  "LEASE_ENDED",
  "WORKSPACE_PARKED",
  "WORKSPACE_QUARANTINED",
  "WORKSPACE_RETIRED",
  "WORK_ABANDONED",
  "STRAGGLERS_FOUND",
  "SALVAGE_CREATED",
  "SALVAGE_RESTORED",
  "SALVAGE_DISCARDED",
  "SALVAGE_EXPIRED",
  "SESSION_OPENED",
  "SESSION_SUSPENDED",
  "SESSION_CLOSED",
  "AGENT_CHANGED",
  "REPOSITORY_REGISTERED",
  "REPOSITORY_READY",
  "REPOSITORY_FAILED",
  "REPOSITORY_REMOVED",
  "MIRROR_CHANGED",
  "SWEEP_FINISHED",
  "MIRROR_PROGRESS",
  "HOST_JOINED",
  "HOST_REMOVED",
  "DISK_LOW",
  "DISK_RECOVERED",
] as const;
export type EventKind = (typeof eventKinds)[number];

export interface Event {
  readonly revision: bigint;
  readonly kind: EventKind;
  readonly repository: string;
  readonly host: string;
  readonly workspaceId: string;
  readonly version: bigint;
  readonly leaseId: string;
  readonly fence: bigint;
  readonly holder: string;
  readonly caller: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly reason?: LeaseEndReason;
  readonly previousState?: WorkspaceState;
  readonly state?: WorkspaceState;
  /** Empty but for kinds of salvages. */
  readonly salvageId: string;
  /** Of its lease or workspace; empty without one. */
  readonly binding: string;
  /** Empty but for kinds of sessions. */
  readonly sessionId: string;
  readonly agent: string;
  /** URL of what its lease or session is about; empty without one. */
  readonly subject: string;
  readonly detail: string;
  readonly time: Date;
}

/** Which events a watcher wants; an absent or empty part matches all. */
export interface EventFilter {
  readonly repository?: string;
  readonly holder?: string;
  readonly host?: string;
  readonly workspaceId?: string;
  readonly leaseId?: string;
  readonly kinds?: readonly EventKind[];
  /** Set for a runner: only events of its own leases. */
  readonly caller?: string;
}

export function matches(filter: EventFilter, event: Event): boolean {
  return (
    (!filter.repository || filter.repository === event.repository) &&
    (!filter.holder || filter.holder === event.holder) &&
    (!filter.host || filter.host === event.host) &&
    (!filter.workspaceId || filter.workspaceId === event.workspaceId) &&
    (!filter.leaseId || filter.leaseId === event.leaseId) &&
    (filter.caller === undefined || filter.caller === event.caller) &&
    (!filter.kinds?.length || filter.kinds.includes(event.kind))
  );
}
