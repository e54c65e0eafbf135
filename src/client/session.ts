/**
 * Owns a session as its coordinator has it: the thin calls of SessionService, repeated until there is an answer.
 *
 * Invariants:
 * 1. A call that is repeated has the effect of one: those that the server does not repeat safely are sent once.
 * 2. Every change carries the token of the lease under which the session was opened, and no other.
 */
import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CallOptions, Client as RawClient } from "@connectrpc/connect";
import {
  AgentState,
  type Change,
  type ChangeSchema,
  type SessionAgent,
  type Session as SessionRecord,
} from "../../gen/leasehold/v1/session_pb.js";
import type { CloseSessionResponse, SessionService } from "../../gen/leasehold/v1/session_service_pb.js";
import type { Workspace } from "../../gen/leasehold/v1/workspace_pb.js";
import type { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { LeaseholdError, LeaseLostError } from "./error.js";
import { allPages } from "./pages.js";
import { persist } from "./retry.js";
import { type ScanOptions, type ScanResult, scan } from "./scan.js";
import { timeout } from "./timeout.js";

/** A change as it is told to the server; what is output only is left out. */
export type ChangeInput = MessageInitShape<typeof ChangeSchema>;

/** Names of `AgentState`. */
export type AgentStateName = keyof typeof AgentState;

export interface SessionCallOptions {
  readonly signal?: AbortSignal;
  /** How long all attempts together may take; 60,000 unless given. */
  readonly timeoutMs?: number;
}

export interface OpenSessionOptions extends SessionCallOptions {
  /** URL of the issue or pull request; without it that of the lease, or none. */
  readonly subject?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface AttachOptions extends SessionCallOptions {
  readonly agent: string;
  /** What runs it, `[a-z][a-z0-9_-]{0,62}`. */
  readonly backend: string;
  /** Who its commits are by. */
  readonly author?: { readonly name: string; readonly email: string };
}

export interface AttachedAgent {
  readonly agent: SessionAgent;
  readonly workspace: Workspace | undefined;
  /** Variables for its process: GIT_AUTHOR_*, GIT_COMMITTER_*, LEASEHOLD_*. Never a token. */
  readonly environment: Readonly<Record<string, string>>;
  /** It was attached before and is neither FAILED nor STOPPED. */
  readonly alreadyAttached: boolean;
}

export interface UpdateAgentOptions extends SessionCallOptions {
  readonly agent: string;
  readonly backendSessionId?: string;
  /** STARTING is `attach`'s to give. */
  readonly state?: Exclude<AgentStateName, "UNSPECIFIED" | "STARTING">;
  /** Needs FAILED. */
  readonly problem?: string;
  /** Only if the agent has this version. The call is then sent once: that it was heard twice could not be told from a conflict. */
  readonly expectedVersion?: bigint;
}

export interface RecordOptions extends SessionCallOptions {
  readonly agent: string;
  /** 1 to 100, all or none. */
  readonly changes: readonly ChangeInput[];
  /** Unique per recording; without it, a random one. Give one to record once over restarts of your own. */
  readonly requestId?: string;
}

export interface ListChangesOptions extends SessionCallOptions {
  readonly agent?: string;
  readonly path?: string;
  readonly afterSequence?: bigint;
}

/** The generated clients that a session needs. */
export interface SessionCalls {
  readonly sessions: RawClient<typeof SessionService>;
  readonly workspaces: RawClient<typeof WorkspaceService>;
}

/** What proves the right to change a session, and says when that is over. */
export interface SessionProof {
  readonly leaseToken: string;
  /** Aborts when the lease is lost. */
  readonly lost?: AbortSignal;
  /** Aborts when the client is closed. */
  readonly closed: AbortSignal;
}

export class Session {
  readonly sessionId: string;
  /** Absolute path of the session's workspace, on `host`. */
  readonly path: string;
  readonly host: string;
  /** The binding had an open session, which goes on. */
  readonly reopened: boolean;
  /** Aborts when the lease is lost: what works in the workspace has to stop. Never, where no lease is held here. */
  readonly lost: AbortSignal;
  readonly #calls: SessionCalls;
  readonly #proof: SessionProof;
  #record: SessionRecord;

  constructor(record: SessionRecord, reopened: boolean, proof: SessionProof, calls: SessionCalls) {
    this.sessionId = record.sessionId;
    this.path = record.path;
    this.host = record.host;
    this.reopened = reopened;
    this.lost = proof.lost ?? new AbortController().signal;
    this.#record = record;
    this.#proof = proof;
    this.#calls = calls;
  }

  /** The session as the server told it last; `refresh` asks again. */
  get record(): SessionRecord {
    return this.#record;
  }

  async refresh(options: SessionCallOptions = {}): Promise<SessionRecord> {
    const { sessionId } = this;
    const { session } = await this.#persist((call) => this.#calls.sessions.getSession({ sessionId }, call), options);
    if (session !== undefined) this.#record = session;
    return this.#record;
  }

  /** Gets or makes an agent. One that is FAILED or STOPPED becomes STARTING. */
  async attach(options: AttachOptions): Promise<AttachedAgent> {
    const { agent, backend, author } = options;
    const request = { ...this.#right(), agent, backend, ...(author && { author }) };
    const answer = await this.#persist((call) => this.#calls.sessions.attachAgent(request, call), options);
    const { workspace, environment, alreadyAttached } = answer;
    return { agent: named(answer.agent), workspace, environment, alreadyAttached };
  }

  /** Stores an agent's backend session id and its state. */
  async update(options: UpdateAgentOptions): Promise<SessionAgent> {
    const { agent, backendSessionId, state = "UNSPECIFIED", problem = "", expectedVersion = 0n } = options;
    const request = {
      ...{ ...this.#right(), agent, expectedVersion, state: AgentState[state], problem },
      ...(backendSessionId !== undefined && { backendSessionId }),
    };
    const once = expectedVersion !== 0n;
    const answer = await this.#persist((call) => this.#calls.sessions.updateAgent(request, call), options, once);
    return named(answer.agent);
  }

  /** Records changes by an agent. `scan` finds out which there are. */
  async recordChanges(options: RecordOptions): Promise<Change[]> {
    const { agent, changes, requestId = randomUUID() } = options;
    const request = { ...this.#right(), agent, requestId, changes: [...changes] };
    return (await this.#persist((call) => this.#calls.sessions.recordChange(request, call), options)).changes;
  }

  /** Every recorded change that the filters let through, in the order of their sequence. */
  async *listChanges(options: ListChangesOptions = {}): AsyncGenerator<Change, void, undefined> {
    const { agent = "", path = "", afterSequence = 0n } = options;
    const filter = { sessionId: this.sessionId, agent, path, afterSequence, pageSize: 100 };
    const ask = (pageToken: string) =>
      this.#persist((call) => this.#calls.sessions.listChanges({ ...filter, pageToken }, call), options);
    for await (const { changes } of allPages(ask)) yield* changes;
  }

  /**
   * Records, as changes of the named agent, what differs in the workspace from what this session's last scan saw,
   * whichever agent that was for. Needs `git`, and to be on the session's host. See docs/sessions.md.
   */
  async scan(options: ScanOptions): Promise<ScanResult> {
    const { workspaceId, leaseId } = this.#record;
    const call = { ...(options.signal && { signal: options.signal }) };
    const { workspace } = await this.#persist((o) => this.#calls.workspaces.getWorkspace({ workspaceId }, o), call);
    if (workspace?.lease?.leaseId !== leaseId || workspace.path !== this.path) {
      const facts = { reason: "LEASE_LOST", code: "FAILED_PRECONDITION" } as const;
      throw new LeaseLostError(`${this.sessionId} has no live lease, so the files at its path are not its own`, facts);
    }
    const place = { sessionId: this.sessionId, directory: this.path, baseCommit: workspace.commit };
    return scan(place, options, (recording) => this.recordChanges({ ...call, ...recording }));
  }

  /** Closes the session: its agents' conversations are forgotten. The lease goes on. */
  close(options: SessionCallOptions = {}): Promise<CloseSessionResponse> {
    return this.#persist((call) => this.#calls.sessions.closeSession(this.#right(), call), options);
  }

  #right(): { sessionId: string; leaseToken: string } {
    return { sessionId: this.sessionId, leaseToken: this.#proof.leaseToken };
  }

  #persist<T>(attempt: (call: CallOptions) => Promise<T>, options: SessionCallOptions, once = false): Promise<T> {
    return persistently(attempt, options, this.#proof.closed, once);
  }
}

/** How long one attempt may take, in milliseconds; then it counts as unanswered. */
const attemptMs = 10_000;

/** Calls until there is an answer, with a limit on each attempt and on all of them. */
export function persistently<T>(
  attempt: (call: CallOptions) => Promise<T>,
  options: SessionCallOptions,
  closed: AbortSignal,
  once = false,
): Promise<T> {
  const { timeoutMs = 60_000 } = options;
  const signal = options.signal === undefined ? closed : AbortSignal.any([options.signal, closed]);
  const deadline = performance.now() + timeoutMs;
  const bounded = () => attempt({ signal, timeoutMs: timeout(Math.min(attemptMs, deadline - performance.now())) });
  const patience = once ? 0 : timeoutMs;
  return persist(bounded, { signal, deadline, retryMs: patience, connectMs: patience });
}

function named(agent: SessionAgent | undefined): SessionAgent {
  if (agent !== undefined) return agent;
  throw new LeaseholdError("the server's answer holds no agent", { reason: "UNSPECIFIED", code: "INTERNAL" });
}
