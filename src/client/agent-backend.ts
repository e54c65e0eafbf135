/** Owns what every agent is to its callers, whatever runs it. */
import type { AgentEvent, TurnResult } from "./agent-event.js";
import type { AgentStateName } from "./session.js";

export interface TurnOptions {
  /** Cancels the turn. */
  readonly signal?: AbortSignal;
}

/**
 * One turn: the events of it, up to and including `turnResult`. Whoever reads slowly slows the agent down; whoever leaves
 * the loop cancels the turn. There is one reader.
 */
export interface AgentTurn extends AsyncIterable<AgentEvent> {
  readonly turn: number;
  /** Lets the events go, and waits for the result. */
  done(): Promise<TurnResult>;
  /** Resolves when the turn is over, which it is within the backend's limits. */
  cancel(): Promise<void>;
}

export interface BackendHealth {
  readonly sessionId: string;
  readonly agent: string;
  readonly backend: string;
  readonly state: Exclude<AgentStateName, "UNSPECIFIED">;
  /** It takes turns. If not, `AgentPool.get` makes another one. */
  readonly alive: boolean;
  readonly backendSessionId: string | undefined;
  /** The turn that runs; 0: none. */
  readonly turn: number;
  /** When the agent last said something, in ISO 8601; undefined before it did. */
  readonly heardTime: string | undefined;
  /** Why it failed; empty otherwise. */
  readonly problem: string;
}

export interface AgentBackend {
  readonly sessionId: string;
  readonly agent: string;
  /** Begins a turn. Throws if one runs, or the backend has ended. */
  turn(text: string, options?: TurnOptions): AgentTurn;
  /** Tells every event, also those outside of turns, without slowing the agent down. Answers how to stop that. */
  subscribe(listener: (event: AgentEvent) => void): () => void;
  /** Never waits. */
  health(): BackendHealth;
  /** Ends it and all that it started. Called again, it answers the same. */
  dispose(): Promise<void>;
}
