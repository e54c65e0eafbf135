/** Owns the mapping of sessions, agents and changes from rows to the domain. */
import type {
  AgentState,
  Change,
  ChangeKind,
  ResumeBlocker,
  Session,
  SessionAgent,
  SessionCloseReason,
  SessionState,
  SubjectState,
} from "../domain/session.js";
import type { Subject } from "../domain/subject.js";
import { workspaceName } from "./rows.js";

export interface AgentRow {
  agent: string;
  backend: string;
  backend_session_id: string;
  bound_host: string;
  bound_path: string;
  bound_workspace_id: number | null;
  state: AgentState;
  problem: string;
  blocker: ResumeBlocker | null;
  author: { name: string; email: string } | null;
  version: number;
  create_time: string;
  update_time: string;
}

export interface SessionRow {
  id: string;
  repository: string;
  binding: string;
  caller: string;
  subject: Subject | null;
  subject_state: SubjectState;
  subject_check_time: Date | null;
  state: SessionState;
  close_reason: SessionCloseReason | null;
  workspace_id: string;
  host: string;
  path: string;
  fence: string;
  agents: AgentRow[];
  labels: Record<string, string>;
  version: string;
  create_time: Date;
  active_time: Date;
  close_time: Date | null;
  salvage_id: string;
}

export interface ChangeRow {
  session_id: string;
  sequence: string;
  agent: string;
  fence: string;
  kind: ChangeKind;
  path: string;
  previous_path: string;
  base_commit: string;
  commit_id: string;
  patch: string;
  patch_truncated: boolean;
  summary: string;
  create_time: Date;
}

/** `n17` for 17. */
export function sessionName(id: string): string {
  return `n${id}`;
}

/** 17 for `n17`, or 0, which no session has. */
export function sessionNumber(name: string): string {
  return /^n[1-9]\d{0,17}$/.test(name) ? name.slice(1) : "0";
}

export function toSession(row: SessionRow): Session {
  const id = sessionName(row.id);
  return {
    id,
    repository: row.repository,
    binding: row.binding,
    caller: row.caller,
    ...(row.subject ? { subject: row.subject } : {}),
    subjectState: row.subject_state,
    ...(row.subject_check_time ? { subjectCheckTime: row.subject_check_time } : {}),
    state: row.state,
    ...(row.close_reason ? { closeReason: row.close_reason } : {}),
    workspaceId: workspaceName(row.workspace_id),
    host: row.host,
    path: row.path,
    fence: BigInt(row.fence),
    agents: row.agents.map((agent) => toAgent(id, agent)),
    labels: row.labels,
    version: BigInt(row.version),
    createTime: row.create_time,
    activeTime: row.active_time,
    ...(row.close_time ? { closeTime: row.close_time } : {}),
    salvageId: row.salvage_id,
  };
}

function toAgent(sessionId: string, row: AgentRow): SessionAgent {
  return {
    sessionId,
    agent: row.agent,
    backend: row.backend,
    backendSessionId: row.backend_session_id,
    boundHost: row.bound_host,
    boundPath: row.bound_path,
    boundWorkspaceId: row.bound_workspace_id === null ? "" : workspaceName(String(row.bound_workspace_id)),
    state: row.state,
    problem: row.problem,
    ...(row.blocker ? { blocker: row.blocker } : {}),
    ...(row.author ? { author: row.author } : {}),
    version: BigInt(row.version),
    createTime: new Date(row.create_time),
    updateTime: new Date(row.update_time),
  };
}

export function toChange(row: ChangeRow): Change {
  return {
    sequence: BigInt(row.sequence),
    sessionId: sessionName(row.session_id),
    agent: row.agent,
    fence: BigInt(row.fence),
    kind: row.kind,
    path: row.path,
    previousPath: row.previous_path,
    baseCommit: row.base_commit,
    commit: row.commit_id,
    patch: row.patch,
    patchTruncated: row.patch_truncated,
    summary: row.summary,
    createTime: row.create_time,
  };
}
