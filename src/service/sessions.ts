/** Owns the shape of what the service offers for sessions; as in services.ts. */
import type { AgentState, Change, ChangeInput, Session, SessionAgent } from "../domain/session.js";
import type { Workspace } from "../domain/workspace.js";
import type { ChangeFilter, SessionFilter } from "../ports/session-store.js";
import type { CallContext } from "./call.js";

/** Which session, and the token of its live lease. */
export interface SessionRight {
  readonly sessionId: string;
  readonly token: string;
}

type Author = { readonly name: string; readonly email: string };

export interface AttachedAgent {
  readonly agent: SessionAgent;
  readonly workspace: Workspace;
  /** For its process. */
  readonly environment: Readonly<Record<string, string>>;
  readonly alreadyAttached: boolean;
}

export interface UpdateAgentInput {
  /** 0: whatever it is. */
  readonly expectedVersion: bigint;
  readonly backendSessionId?: string;
  readonly state?: AgentState;
  readonly problem: string;
}

export interface RecordInput {
  /** Empty: not idempotent. */
  readonly requestId: string;
  readonly changes: readonly ChangeInput[];
}

export interface ChangeListInput {
  readonly sessionId: string;
  readonly filter: ChangeFilter;
  readonly after: bigint;
  /** 1 to 1,000. */
  readonly pageSize: number;
}

export interface SessionListInput {
  readonly filter: SessionFilter;
  /** Id of the last one of the page before; empty for the first page. */
  readonly after: string;
  /** 1 to 1,000. */
  readonly pageSize: number;
}

export interface Sessions {
  /** `subject`: a URL; empty: none. */
  open(
    leaseId: string,
    token: string,
    subject: string,
    labels: Readonly<Record<string, string>>,
    call: CallContext,
  ): Promise<{ readonly session: Session; readonly reopened: boolean }>;
  attach(
    right: SessionRight,
    agent: string,
    backend: string,
    author: Author | undefined,
    call: CallContext,
  ): Promise<AttachedAgent>;
  update(right: SessionRight, agent: string, input: UpdateAgentInput, call: CallContext): Promise<SessionAgent>;
  record(right: SessionRight, agent: string, input: RecordInput, call: CallContext): Promise<readonly Change[]>;
  changes(
    input: ChangeListInput,
    call: CallContext,
  ): Promise<{ readonly changes: readonly Change[]; readonly more: boolean }>;
  get(sessionId: string, call: CallContext): Promise<Session>;
  list(
    input: SessionListInput,
    call: CallContext,
  ): Promise<{ readonly sessions: readonly Session[]; readonly more: boolean }>;
  /** `token` empty: none. `force` is an admin's. */
  close(
    sessionId: string,
    token: string,
    force: boolean,
    call: CallContext,
  ): Promise<{ readonly session: Session; readonly alreadyClosed: boolean }>;
}
