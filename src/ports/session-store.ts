/**
 * The port to the store of sessions. Contract as in lease-store.ts, and
 * 1. What changes a session's history is done under its live lease, which is compared and locked first.
 * 2. `caller`, where it is given, limits everything to that caller's sessions: another's are `unknown`.
 */
import type { LeaseKey } from "../domain/lease.js";
import type { AgentState, Change, ChangeInput, Session, SessionState } from "../domain/session.js";
import type { Subject } from "../domain/subject.js";

/** Which session, and by what right. */
export interface SessionClaim {
  readonly sessionId: string;
  readonly caller?: string;
  readonly key: LeaseKey;
}

/** `lost`: the lease does not live, or is not the session's. */
export type Refused = "unknown" | "closed" | "lost";

export interface SessionFilter {
  readonly repository?: string;
  readonly binding?: string;
  /** URL. */
  readonly subject?: string;
  readonly agent?: string;
  readonly host?: string;
  readonly states: readonly SessionState[];
  readonly inactiveForMs?: number;
  readonly caller?: string;
}

export interface ChangeFilter {
  readonly agent?: string;
  readonly path?: string;
}

export interface AgentUpdate {
  /** 0: whatever it is. */
  readonly expectedVersion: bigint;
  readonly backendSessionId?: string;
  readonly state?: AgentState;
  readonly problem: string;
}

export interface SessionStore {
  /**
   * Opens a session under a lease, or goes on with the open one of its binding; `reopened`: that was there before the lease.
   * `foreign`: the lease is not `caller`'s, and nothing was written.
   */
  open(
    key: LeaseKey,
    subject: Subject | undefined,
    labels: Readonly<Record<string, string>>,
    caller?: string,
  ): Promise<
    | { readonly kind: "opened" | "reopened"; readonly session: Session }
    | { readonly kind: "lost" }
    | { readonly kind: "foreign" }
    | { readonly kind: "mismatch"; readonly session: Session }
  >;
  attach(
    claim: SessionClaim,
    agent: string,
    backend: string,
    author: { readonly name: string; readonly email: string } | undefined,
  ): Promise<"attached" | "already" | "backend" | Refused>;
  update(
    claim: SessionClaim,
    agent: string,
    update: AgentUpdate,
  ): Promise<"updated" | "agent" | "version" | "state" | "in-use" | Refused>;
  /** `digest`: over the changes. An empty `requestId` is not idempotent. */
  record(
    claim: SessionClaim,
    agent: string,
    requestId: string,
    digest: string,
    changes: readonly ChangeInput[],
  ): Promise<
    { readonly kind: "recorded"; readonly changes: readonly Change[] } | { readonly kind: "reused" | "agent" | Refused }
  >;
  close(
    sessionId: string,
    right: { readonly caller?: string; readonly key?: LeaseKey; readonly force: boolean },
  ): Promise<"closed" | "already" | "unknown" | "lost">;
  find(sessionId: string, caller?: string): Promise<Session | undefined>;
  /** In the order of their ids, after the id `after`. */
  list(filter: SessionFilter, after: string, limit: number): Promise<readonly Session[]>;
  /** In the order of their sequence, after it: at most `limit`, and no more once they take `maxBytes`. `more`: there are others. */
  changes(
    sessionId: string,
    filter: ChangeFilter,
    after: bigint,
    limit: number,
    maxBytes: number,
  ): Promise<{ readonly changes: readonly Change[]; readonly more: boolean }>;
}
