/**
 * Owns the protocol between a runner and an agent's process: JSON lines, version 1. Docs/agents.md is its manual.
 *
 * Invariants:
 * 1. A line that is not of the protocol is a fault with a reason, never an exception, and what is shown of it is short.
 */
import { z } from "zod";
import type { AgentEventBody, JsonValue } from "./agent-event.js";

export const protocolVersion = 1;

/** What the runner tells the agent. */
export type RunnerMessage =
  | {
      readonly type: "start";
      readonly protocol: number;
      readonly session: string;
      readonly agent: string;
      readonly directory: string;
      /** The backend session to go on with; null: begin a new one. */
      readonly resume: string | null;
      /** Why a new one is begun; null where one is gone on with. */
      readonly blocker: string | null;
    }
  | { readonly type: "turn"; readonly turn: number; readonly text: string }
  | { readonly type: "cancel"; readonly turn: number }
  | { readonly type: "stop" };

const backendSession = z
  .string()
  .min(1)
  .max(512)
  .refine((id) => !/\p{Cc}/u.test(id), "has control characters");

const agentMessage = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("ready"),
    protocol: z.literal(protocolVersion),
    session: backendSession.optional(),
    resumed: z.boolean().default(false),
  }),
  z.object({ type: z.literal("session"), session: backendSession }),
  z.object({ type: z.literal("text"), text: z.string() }),
  z.object({ type: z.literal("reasoning"), text: z.string() }),
  z.object({
    type: z.literal("tool_call"),
    id: z.string().min(1),
    name: z.string().min(1),
    input: z.json().default(null),
  }),
  z.object({
    type: z.literal("tool_update"),
    id: z.string().min(1),
    status: z.enum(["running", "completed", "failed"]),
    output: z.string().default(""),
  }),
  z.object({
    type: z.literal("commands"),
    commands: z.array(z.object({ name: z.string().min(1), description: z.string().default("") })),
  }),
  z.object({ type: z.literal("status"), text: z.string() }),
  z.object({ type: z.literal("error"), message: z.string() }),
  z.object({
    type: z.literal("result"),
    turn: z.int().positive(),
    outcome: z.enum(["completed", "failed", "cancelled"]),
    text: z.string().default(""),
    usage: z.record(z.string(), z.number()).optional(),
  }),
]);

/** What the agent tells the runner. */
export type AgentMessage = z.infer<typeof agentMessage>;

export type ParsedLine =
  | { readonly message: AgentMessage; readonly fault?: undefined }
  | { readonly message?: undefined; readonly fault: string };

export function parseLine(line: string): ParsedLine {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { fault: `no JSON: ${excerpt(line)}` };
  }
  const parsed = agentMessage.safeParse(value);
  if (parsed.success) return { message: parsed.data };
  const { path = [], message = "" } = parsed.error.issues[0] ?? {};
  return { fault: `${path.map(String).join(".") || "line"}: ${message}: ${excerpt(line)}` };
}

function excerpt(line: string): string {
  const most = 200;
  return line.length > most ? `${line.slice(0, most)}…` : line;
}

/** What is told of a message; undefined for what is between the runner and the agent alone. */
export function eventOf(message: AgentMessage, state: "STARTING" | "RUNNING" | "IDLE"): AgentEventBody | undefined {
  switch (message.type) {
    case "text":
    case "reasoning":
    case "commands":
      return message;
    case "tool_call":
      return { type: "toolCall", id: message.id, name: message.name, input: message.input as JsonValue };
    case "tool_update":
      return { type: "toolUpdate", id: message.id, status: message.status, output: message.output };
    case "status":
      return { type: "status", state, detail: message.text };
    case "error":
      return { type: "error", code: "AGENT", message: message.message, fatal: false };
    case "result": {
      const { outcome, text, usage } = message;
      return { type: "turnResult", outcome, text, ...(usage && { usage }) };
    }
    default:
      return undefined;
  }
}
