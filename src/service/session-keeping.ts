/**
 * Owns sessions and their agents, on any server: who may change which, and what is answered where that is refused.
 *
 * Invariants:
 * 1. Only the database is touched.
 * 2. A change needs the token of the session's live lease; another caller's session is not there. The caller is judged
 *    before anything is written.
 * 3. Another agent's backend session is never told.
 */
import { createHash } from "node:crypto";
import { limitedTo } from "../domain/caller.js";
import { Failure } from "../domain/failure.js";
import type { LeaseKey } from "../domain/lease.js";
import { keyOfToken, type TokenSecret } from "../domain/lease-token.js";
import { type Change, mostPatchBytes, type Session, type SessionAgent } from "../domain/session.js";
import type { Forge } from "../domain/subject.js";
import type { WorkspacePool } from "../ports/lease-store.js";
import type { Refused, SessionClaim, SessionStore } from "../ports/session-store.js";
import type { Wake } from "../ports/wake.js";
import type { CallContext } from "./call.js";
import { leaseLost } from "./leases/acquiring.js";
import type {
  AttachedAgent,
  ChangeListInput,
  RecordInput,
  SessionListInput,
  SessionRight,
  Sessions,
  UpdateAgentInput,
} from "./sessions.js";
import { subjectNamed } from "./sweep/subjects.js";

export interface SessionsDependencies {
  readonly store: SessionStore;
  readonly pool: WorkspacePool;
  readonly forges: readonly Forge[];
  /** After so long without activity a session is dropped. */
  readonly maxAgeMs: number;
  readonly secret: TokenSecret;
  readonly wake: Wake;
}

/** So much of changes, and then one more: a client that takes 4 MiB in one message can read every page. */
const pageBytes = 2 * 1024 ** 2;

export class SessionKeeping implements Sessions {
  readonly #deps: SessionsDependencies;

  constructor(deps: SessionsDependencies) {
    this.#deps = deps;
  }

  async open(
    leaseId: string,
    token: string,
    subjectUrl: string,
    labels: Readonly<Record<string, string>>,
    call: CallContext,
  ): Promise<{ readonly session: Session; readonly reopened: boolean }> {
    const subject = subjectUrl === "" ? undefined : subjectNamed(subjectUrl, this.#deps.forges);
    const outcome = await this.#deps.store.open(this.#proven(token, leaseId), subject, labels, limitedTo(call.caller));
    if (outcome.kind === "foreign") throw tokenInvalid();
    if (outcome.kind === "lost") throw leaseLost("", leaseId);
    const { session } = outcome;
    if (outcome.kind === "mismatch") {
      const metadata = { session: session.id, subject: session.subject?.url ?? "" };
      throw new Failure("SUBJECT_MISMATCH", `the open session of this binding is about ${session.subject?.url}`, {
        metadata,
      });
    }
    this.#deps.wake.hint();
    return { session: this.#dated(session), reopened: outcome.kind === "reopened" };
  }

  async attach(
    right: SessionRight,
    agent: string,
    backend: string,
    author: { readonly name: string; readonly email: string } | undefined,
    call: CallContext,
  ): Promise<AttachedAgent> {
    const claim = this.#claim(right, call);
    const outcome = await this.#deps.store.attach(claim, agent, backend, author);
    if (outcome === "backend") {
      throw new Failure("AGENT_STATE", "an agent gets another backend only when it is FAILED or STOPPED", {
        metadata: { agent },
      });
    }
    if (outcome !== "attached" && outcome !== "already") throw refused(outcome, claim);
    const session = await this.get(right.sessionId, call);
    const attached = agentOf(session, agent);
    const workspace = await this.#deps.pool.get(session.workspaceId);
    if (!workspace) throw new Failure("WORKSPACE_NOT_FOUND", `there is no workspace ${session.workspaceId}`);
    this.#deps.wake.hint();
    return {
      agent: attached,
      workspace,
      environment: environmentOf(session, attached),
      alreadyAttached: outcome === "already",
    };
  }

  async update(right: SessionRight, agent: string, input: UpdateAgentInput, call: CallContext): Promise<SessionAgent> {
    const claim = this.#claim(right, call);
    const outcome = await this.#deps.store.update(claim, agent, input);
    switch (outcome) {
      case "updated":
        this.#deps.wake.hint();
        return agentOf(await this.get(right.sessionId, call), agent);
      case "agent":
        throw agentNotFound(agent);
      case "version":
        throw new Failure("VERSION_MISMATCH", "the agent has another version", { metadata: { agent } });
      case "state":
        throw new Failure(
          "AGENT_STATE",
          "the agent cannot go to this state from where it is, or has no backend session",
          {
            metadata: { agent },
          },
        );
      case "in-use":
        throw new Failure("BACKEND_SESSION_IN_USE", "another agent has this backend session");
      default:
        throw refused(outcome, claim);
    }
  }

  async record(right: SessionRight, agent: string, input: RecordInput, call: CallContext): Promise<readonly Change[]> {
    const claim = this.#claim(right, call);
    const changes = input.changes.map((change) => {
      const bytes = Buffer.from(change.patch, "utf8");
      if (bytes.length <= mostPatchBytes) return change;
      // a character that the cut goes through is left out
      const patch = bytes
        .subarray(0, mostPatchBytes)
        .toString("utf8")
        .replace(/\uFFFD+$/, "");
      return { ...change, patch, patchTruncated: true };
    });
    const digest = createHash("sha256")
      .update(JSON.stringify([agent, changes]))
      .digest("hex");
    const outcome = await this.#deps.store.record(claim, agent, input.requestId, digest, changes);
    if (outcome.kind === "recorded") return outcome.changes;
    if (outcome.kind === "agent") throw agentNotFound(agent);
    if (outcome.kind === "reused") {
      throw new Failure("REQUEST_ID_REUSED", "this request id was used before, with other fields");
    }
    throw refused(outcome.kind, claim);
  }

  async changes(
    input: ChangeListInput,
    call: CallContext,
  ): Promise<{ readonly changes: readonly Change[]; readonly more: boolean }> {
    await this.get(input.sessionId, call);
    const { sessionId, filter, after, pageSize } = input;
    return this.#deps.store.changes(sessionId, filter, after, pageSize, pageBytes);
  }

  async get(sessionId: string, call: CallContext): Promise<Session> {
    const session = await this.#deps.store.find(sessionId, limitedTo(call.caller));
    if (!session) throw sessionNotFound(sessionId);
    return this.#dated(session);
  }

  async list(
    input: SessionListInput,
    call: CallContext,
  ): Promise<{ readonly sessions: readonly Session[]; readonly more: boolean }> {
    const caller = limitedTo(call.caller);
    const filter = caller === undefined ? input.filter : { ...input.filter, caller };
    const found = await this.#deps.store.list(filter, input.after, input.pageSize + 1);
    const sessions = found.slice(0, input.pageSize).map((session) => this.#dated(session));
    return { sessions, more: found.length > input.pageSize };
  }

  async close(
    sessionId: string,
    token: string,
    force: boolean,
    call: CallContext,
  ): Promise<{ readonly session: Session; readonly alreadyClosed: boolean }> {
    const caller = limitedTo(call.caller);
    if (force && caller !== undefined) {
      throw new Failure("ROLE_REQUIRED", "only an admin may force", { metadata: { role: "admin" } });
    }
    const key = token === "" ? undefined : this.#proven(token);
    const right = { force, ...(caller === undefined ? {} : { caller }), ...(key ? { key } : {}) };
    const outcome = await this.#deps.store.close(sessionId, right);
    if (outcome === "unknown") throw sessionNotFound(sessionId);
    if (outcome === "lost") {
      if (key) throw leaseLost("", `${key.workspaceId}.${key.fence}`);
      throw new Failure(
        "TOKEN_INVALID",
        "an active session is closed with the token of its lease, or by an admin with force",
      );
    }
    if (outcome === "closed") this.#deps.wake.hint();
    return { session: await this.get(sessionId, call), alreadyClosed: outcome === "already" };
  }

  #dated(session: Session): Session {
    if (session.state === "CLOSED") return session;
    return { ...session, dropTime: new Date(session.activeTime.getTime() + this.#deps.maxAgeMs) };
  }

  #claim({ sessionId, token }: SessionRight, call: CallContext): SessionClaim {
    const caller = limitedTo(call.caller);
    return { sessionId, key: this.#proven(token), ...(caller === undefined ? {} : { caller }) };
  }

  #proven(token: string, leaseId?: string): LeaseKey {
    const key = keyOfToken(token, this.#deps.secret);
    if (!key || (leaseId !== undefined && leaseId !== `${key.workspaceId}.${key.fence}`)) throw tokenInvalid();
    return key;
  }
}

function agentOf(session: Session, name: string): SessionAgent {
  const agent = session.agents.find((one) => one.agent === name);
  if (!agent) throw agentNotFound(name);
  return agent;
}

/** For the agent's process. Never a token. */
function environmentOf(session: Session, agent: SessionAgent): Record<string, string> {
  const { author } = agent;
  return {
    LEASEHOLD_SESSION_ID: session.id,
    LEASEHOLD_AGENT: agent.agent,
    LEASEHOLD_WORKSPACE_DIR: session.path,
    LEASEHOLD_LEASE_ID: `${session.workspaceId}.${session.fence}`,
    LEASEHOLD_FENCE: String(session.fence),
    ...(session.subject ? { LEASEHOLD_SUBJECT: session.subject.url } : {}),
    ...(author
      ? {
          GIT_AUTHOR_NAME: author.name,
          GIT_AUTHOR_EMAIL: author.email,
          GIT_COMMITTER_NAME: author.name,
          GIT_COMMITTER_EMAIL: author.email,
        }
      : {}),
  };
}

function refused(outcome: Refused | "ok" | string, { sessionId, key }: SessionClaim): Failure {
  if (outcome === "unknown") return sessionNotFound(sessionId);
  if (outcome === "closed") {
    return new Failure("SESSION_CLOSED", `session ${sessionId} is closed`, { metadata: { session: sessionId } });
  }
  return leaseLost("", `${key.workspaceId}.${key.fence}`);
}

function tokenInvalid(): Failure {
  return new Failure("TOKEN_INVALID", "the lease token is not one of this lease");
}

function sessionNotFound(id: string): Failure {
  return new Failure("SESSION_NOT_FOUND", `there is no session ${id}`, { metadata: { session: id } });
}

function agentNotFound(agent: string): Failure {
  return new Failure("AGENT_NOT_FOUND", `the session has no agent ${agent}`, { metadata: { agent } });
}
