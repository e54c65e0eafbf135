/**
 * Owns keeping the server's record of one agent up to date.
 *
 * Invariants:
 * 1. The backend session id is sent as soon as it is known, before any state that follows.
 * 2. States are sent in order and by the server's own steps; those that are over before they were sent are left out.
 * 3. What could not be stored is told, and sent again with whatever comes next, unless the server will never take it.
 */
import type { SessionAgent } from "../../gen/leasehold/v1/session_pb.js";
import { AgentState } from "../../gen/leasehold/v1/session_pb.js";
import { asLeaseholdError, type LeaseholdError, type Reason } from "./error.js";
import type { Session, UpdateAgentOptions } from "./session.js";

export type RecordedState = "RUNNING" | "IDLE" | "FAILED" | "STOPPED";

/** The session is another's, or nobody's: there is nothing to keep any more. */
const over: ReadonlySet<Reason> = new Set<Reason>([
  "LEASE_LOST",
  "TOKEN_INVALID",
  "SESSION_CLOSED",
  "SESSION_NOT_FOUND",
  "AGENT_NOT_FOUND",
]);

export class AgentRecord {
  readonly #session: Session;
  readonly #agent: string;
  readonly #onFailure: (error: LeaseholdError) => void;
  #state: string;
  #storedId: string;
  #wantedId: string | undefined;
  #wanted: RecordedState | undefined;
  #problem = "";
  #over = false;
  #running = false;
  #settled: Promise<void> = Promise.resolve();

  constructor(session: Session, agent: SessionAgent, onFailure: (error: LeaseholdError) => void) {
    this.#session = session;
    this.#agent = agent.agent;
    this.#onFailure = onFailure;
    this.#state = AgentState[agent.state] ?? "UNSPECIFIED";
    this.#storedId = agent.backendSessionId;
  }

  /** The id that the server has; empty for none. */
  get storedId(): string {
    return this.#storedId;
  }

  /** Stores an id, also the one that is stored already: it then belongs to the path and files of today. */
  store(backendSessionId: string): Promise<void> {
    this.#wantedId = backendSessionId;
    return this.#run();
  }

  state(state: RecordedState, problem = ""): Promise<void> {
    this.#wanted = state;
    this.#problem = problem;
    return this.#run();
  }

  /** One sender at a time. Never rejects. */
  #run(): Promise<void> {
    if (!this.#running) this.#settled = this.#send();
    return this.#settled;
  }

  async #send(): Promise<void> {
    this.#running = true;
    for (let step = this.#next(); step !== undefined && !this.#over; step = this.#next()) {
      try {
        const stored = await this.#session.update({ agent: this.#agent, ...step });
        this.#state = AgentState[stored.state] ?? "UNSPECIFIED";
        this.#storedId = stored.backendSessionId;
        if (step.backendSessionId === this.#wantedId) this.#wantedId = undefined;
      } catch (thrown) {
        const error = asLeaseholdError(thrown);
        if (over.has(error.reason)) this.#over = true;
        if (error.reason === "BACKEND_SESSION_IN_USE" || error.reason === "FIELD_INVALID") this.#wantedId = undefined;
        this.#running = false;
        this.#onFailure(error);
        return;
      }
    }
    this.#running = false;
  }

  /** The next call that brings the record nearer to what it should be; undefined: it is that, or cannot be. */
  #next(): Omit<UpdateAgentOptions, "agent"> | undefined {
    const id = this.#wantedId === undefined ? {} : { backendSessionId: this.#wantedId };
    const state = this.#step();
    if (this.#wantedId === undefined && state === undefined) return undefined;
    return { ...id, ...(state && { state }), ...(state === "FAILED" && { problem: this.#problem }) };
  }

  #step(): RecordedState | undefined {
    const wanted = this.#wanted;
    if (wanted === undefined || wanted === this.#state || this.#state === "FAILED" || this.#state === "STOPPED") {
      return undefined;
    }
    if (wanted === "FAILED" || wanted === "STOPPED") return wanted;
    // an agent without a conversation stays STARTING
    if (this.#storedId === "" && this.#wantedId === undefined) return undefined;
    return this.#state === "STARTING" ? "RUNNING" : wanted;
  }
}
