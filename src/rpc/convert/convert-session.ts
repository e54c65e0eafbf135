/** Owns the conversion of sessions, agents and changes. */
import { create } from "@bufbuild/protobuf";
import {
  AgentState,
  ChangeKind,
  type Change as ChangeMessage,
  ChangeSchema,
  ResumeBlocker,
  type SessionAgent as SessionAgentMessage,
  SessionAgentSchema,
  SessionCloseReason,
  type Session as SessionMessage,
  SessionSchema,
  SessionState,
  SubjectState,
} from "../../../gen/leasehold/v1/session_pb.js";
import type { ListSessionsRequest, UpdateAgentRequest } from "../../../gen/leasehold/v1/session_service_pb.js";
import type { Change, ChangeInput, Session, SessionAgent, SessionState as State } from "../../domain/session.js";
import type { SessionFilter } from "../../ports/session-store.js";
import type { UpdateAgentInput } from "../../service/sessions.js";
import { fromSubject } from "./convert-subject.js";
import { fromDate, optionalMs } from "./convert-time.js";

export function fromSession(session: Session): SessionMessage {
  const message = create(SessionSchema, {
    sessionId: session.id,
    repository: session.repository,
    binding: session.binding,
    caller: session.caller,
    subjectState: SubjectState[session.subjectState],
    state: SessionState[session.state],
    workspaceId: session.workspaceId,
    host: session.host,
    path: session.path,
    leaseId: `${session.workspaceId}.${session.fence}`,
    fence: session.fence,
    agents: session.agents.map(fromAgent),
    labels: { ...session.labels },
    version: session.version,
    createTime: fromDate(session.createTime),
    activeTime: fromDate(session.activeTime),
    salvageId: session.salvageId,
  });
  if (session.subject) message.subject = fromSubject(session.subject);
  if (session.subjectCheckTime) message.subjectCheckTime = fromDate(session.subjectCheckTime);
  if (session.closeReason) message.closeReason = SessionCloseReason[session.closeReason];
  if (session.dropTime) message.dropTime = fromDate(session.dropTime);
  if (session.closeTime) message.closeTime = fromDate(session.closeTime);
  return message;
}

export function fromAgent(agent: SessionAgent): SessionAgentMessage {
  const { blocker, author, ...rest } = agent;
  const message = create(SessionAgentSchema, {
    ...rest,
    state: AgentState[agent.state],
    resume: { possible: blocker === undefined, blocker: blocker ? ResumeBlocker[blocker] : ResumeBlocker.UNSPECIFIED },
    createTime: fromDate(agent.createTime),
    updateTime: fromDate(agent.updateTime),
  });
  if (author) message.author = { $typeName: "leasehold.v1.Author", ...author };
  return message;
}

export function toUpdate({ expectedVersion, backendSessionId, state, problem }: UpdateAgentRequest): UpdateAgentInput {
  return {
    expectedVersion,
    problem,
    ...(backendSessionId === undefined ? {} : { backendSessionId }),
    ...(state === AgentState.UNSPECIFIED ? {} : { state: AgentState[state] as SessionAgent["state"] }),
  };
}

export function fromChange(change: Change): ChangeMessage {
  const { sessionId, sequence, kind, createTime, ...rest } = change;
  return create(ChangeSchema, {
    ...rest,
    sessionId,
    sequence,
    changeId: `${sessionId}.${sequence}`,
    kind: ChangeKind[kind],
    createTime: fromDate(createTime),
  });
}

export function toChangeInput(change: ChangeMessage): ChangeInput {
  const { path, previousPath, baseCommit, commit, patch, patchTruncated, summary } = change;
  const kind = ChangeKind[change.kind] as Change["kind"];
  return { kind, path, previousPath, baseCommit, commit, patch, patchTruncated, summary };
}

/** Without the caller, which the service adds. */
export function toSessionFilter(request: ListSessionsRequest): SessionFilter {
  const { repository, binding, subject, agent, host, states } = request;
  const inactiveForMs = optionalMs(request.inactiveFor);
  const wanted = states.map((state) => SessionState[state] as State);
  return {
    ...(repository && { repository }),
    ...(binding && { binding }),
    ...(subject && { subject }),
    ...(agent && { agent }),
    ...(host && { host }),
    ...(inactiveForMs === undefined ? {} : { inactiveForMs }),
    states: wanted.length > 0 ? wanted : ["ACTIVE", "SUSPENDED"],
  };
}
