/**
 * Owns what an agent tells while it works: one union for every kind of agent and every way to reach it.
 *
 * Invariants:
 * 1. An event is plain JSON, so that it goes over any transport and into any log as it is.
 * 2. Of each turn, `turnResult` is told once, and last.
 */
import type { AgentStateName } from "./session.js";

export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/** Where an event comes from. */
export interface AgentEventOrigin {
  readonly sessionId: string;
  readonly agent: string;
  /** From 1, of this backend; 0 outside of a turn. */
  readonly turn: number;
  /** When it was received, in ISO 8601. */
  readonly time: string;
}

export type TurnOutcome = "completed" | "failed" | "cancelled";

/** How a turn ended. */
export interface TurnResult {
  readonly type: "turnResult";
  readonly outcome: TurnOutcome;
  /** What the agent says in the end; of a turn that failed, why. */
  readonly text: string;
  /** What the agent says of its cost, as it says it. */
  readonly usage?: Readonly<Record<string, number>>;
}

/** Why something went wrong; `AGENT` is the agent's own word. Docs/agents.md says what follows from which. */
export type AgentErrorCode =
  | "AGENT"
  | "LINE_INVALID"
  | "LINE_TOO_LONG"
  | "RESUME_REFUSED"
  | "EXITED"
  | "STDOUT_CLOSED"
  | "LEASE_LOST"
  | "BACKEND_SESSION_IN_USE"
  | "NOT_STORED";

export type AgentEventBody =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "reasoning"; readonly text: string }
  | {
      readonly type: "toolCall";
      /** Unique in the turn. */
      readonly id: string;
      readonly name: string;
      readonly input: JsonValue;
    }
  | {
      readonly type: "toolUpdate";
      readonly id: string;
      readonly status: "running" | "completed" | "failed";
      readonly output: string;
    }
  | {
      readonly type: "commands";
      /** All that the agent understands now; each list replaces the one before. */
      readonly commands: readonly { readonly name: string; readonly description: string }[];
    }
  | { readonly type: "status"; readonly state: Exclude<AgentStateName, "UNSPECIFIED">; readonly detail: string }
  | {
      readonly type: "error";
      readonly code: AgentErrorCode;
      readonly message: string;
      /** The backend has ended, or is about to. */
      readonly fatal: boolean;
    }
  | TurnResult;

export type AgentEvent = AgentEventOrigin & AgentEventBody;
