/**
 * The public client of Leasehold, published as `leasehold/client`.
 *
 * ```ts
 * import { connect } from "leasehold/client";
 * const client = connect();
 * await using lease = await client.acquire({ repository: "demo", revision: "main" });
 * await build(lease.path, { signal: lease.signal });
 * ```
 */
export type { Event } from "../../gen/leasehold/v1/event_pb.js";
export { EventKind } from "../../gen/leasehold/v1/event_pb.js";
export type { Lease as LeaseRecord } from "../../gen/leasehold/v1/lease_pb.js";
export {
  AgentState,
  type Change,
  ChangeKind,
  ResumeBlocker,
  type Session as SessionRecord,
  type SessionAgent,
  SessionState,
} from "../../gen/leasehold/v1/session_pb.js";
export type { Workspace } from "../../gen/leasehold/v1/workspace_pb.js";
export { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
export type {
  AcquireResponse,
  HeartbeatResponse,
  ReleaseResponse,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
export type { Acquired, AcquireOptions } from "./acquire.js";
export { defaultAddress } from "./address.js";
export type { AgentBackend, AgentTurn, BackendHealth, TurnOptions } from "./agent-backend.js";
export type {
  AgentErrorCode,
  AgentEvent,
  AgentEventBody,
  AgentEventOrigin,
  JsonValue,
  TurnOutcome,
  TurnResult,
} from "./agent-event.js";
export {
  type AgentKey,
  AgentPool,
  type AgentPoolOptions,
  type DisposeFailure,
  type DisposeReport,
  type PoolHealth,
} from "./agent-pool.js";
export {
  Client,
  type ConnectOptions,
  connect,
  type HeartbeatCallOptions,
  type HoldOptions,
  type LeaseProof,
} from "./client.js";
export {
  asLeaseholdError,
  type EndReason,
  type FieldFault,
  LeaseholdError,
  LeaseLostError,
  PoolExhaustedError,
  type Reason,
  type StatusName,
  UnreachableError,
} from "./error.js";
export { Lease, type LeaseDependencies, type LeaseHeartbeatOptions, type ReleaseOptions } from "./lease.js";
export { ProcessBackend } from "./process-backend.js";
export { AgentStartError, type ProcessBackendOptions, type ProcessLimits } from "./process-start.js";
export type { ScanOptions, ScanResult } from "./scan.js";
export {
  type AgentStateName,
  type AttachedAgent,
  type AttachOptions,
  type ChangeInput,
  type ListChangesOptions,
  type OpenSessionOptions,
  type RecordOptions,
  Session,
  type SessionCallOptions,
  type UpdateAgentOptions,
} from "./session.js";
export type { Protocol, TlsOptions } from "./transport.js";
export type { WatchItem, WatchOptions } from "./watch.js";
