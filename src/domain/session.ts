/**
 * Owns sessions and their agents: states, and when a conversation can be gone on with.
 *
 * Invariants (enforced again by the database, see the migrations):
 * 1. A session is ACTIVE exactly while its lease lives.
 * 2. A working agent has a backend session id; the id and where it is bound to come and go together.
 */
import type { Subject } from "./subject.js";

export const sessionStates = ["ACTIVE", "SUSPENDED", "CLOSED"] as const;
export type SessionState = (typeof sessionStates)[number];
export type SessionCloseReason = "REQUESTED" | "SUBJECT_CLOSED" | "MAX_AGE" | "RESET";
export type SubjectState = "UNKNOWN" | "OPEN" | "CLOSED" | "MERGED";
export type AgentState = "STARTING" | "RUNNING" | "IDLE" | "FAILED" | "STOPPED";
export type ChangeKind = "ADDED" | "MODIFIED" | "DELETED" | "RENAMED" | "COMMITTED";

/** The first thing that stands against going on with an agent's conversation, in this order. */
export type ResumeBlocker =
  | "NEVER_STARTED"
  | "BACKEND_CHANGED"
  | "NO_LEASE"
  | "HOST_CHANGED"
  | "PATH_CHANGED"
  | "FILES_RESET";

export interface SessionAgent {
  readonly sessionId: string;
  readonly agent: string;
  readonly backend: string;
  readonly backendSessionId: string;
  readonly boundHost: string;
  readonly boundPath: string;
  readonly boundWorkspaceId: string;
  readonly state: AgentState;
  readonly problem: string;
  /** Undefined: it can be resumed. */
  readonly blocker?: ResumeBlocker;
  readonly author?: { readonly name: string; readonly email: string };
  readonly version: bigint;
  readonly createTime: Date;
  readonly updateTime: Date;
}

export interface Session {
  /** `n` and a number. */
  readonly id: string;
  readonly repository: string;
  readonly binding: string;
  readonly caller: string;
  readonly subject?: Subject;
  readonly subjectState: SubjectState;
  readonly subjectCheckTime?: Date;
  readonly state: SessionState;
  readonly closeReason?: SessionCloseReason;
  readonly workspaceId: string;
  readonly host: string;
  readonly path: string;
  readonly fence: bigint;
  readonly agents: readonly SessionAgent[];
  readonly labels: Readonly<Record<string, string>>;
  readonly version: bigint;
  readonly createTime: Date;
  readonly activeTime: Date;
  /** When it is dropped for its age, unless something happens in it; unset where it is closed. */
  readonly dropTime?: Date;
  readonly closeTime?: Date;
  /** What was saved of its last workspace; empty: nothing. */
  readonly salvageId: string;
}

/** A change as an agent tells it. */
export interface ChangeInput {
  readonly kind: ChangeKind;
  readonly path: string;
  readonly previousPath: string;
  readonly baseCommit: string;
  readonly commit: string;
  readonly patch: string;
  readonly patchTruncated: boolean;
  readonly summary: string;
}

export interface Change extends ChangeInput {
  readonly sequence: bigint;
  readonly sessionId: string;
  readonly agent: string;
  readonly fence: bigint;
  readonly createTime: Date;
}

/** Bytes of a patch that are kept. */
export const mostPatchBytes = 256 * 1024;
