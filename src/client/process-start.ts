/**
 * Owns what it takes to start an agent's process: its options, its environment, and whether it goes on with a conversation.
 *
 * Invariants:
 * 1. No token is in its environment.
 */
import { AgentState, ResumeBlocker, type SessionAgent } from "../../gen/leasehold/v1/session_pb.js";
import type { AgentEvent } from "./agent-event.js";
import type { Ending } from "./agent-process.js";
import { LeaseholdError } from "./error.js";
import type { AttachedAgent, Session } from "./session.js";

/** Times in milliseconds. */
export interface ProcessLimits {
  /** Until the agent says that it is ready; 30,000. */
  readonly readyMs: number;
  /** From the message that cancels a turn until SIGINT; 5,000. */
  readonly cancelMs: number;
  /** From SIGINT until SIGTERM; 3,000. */
  readonly interruptMs: number;
  /** From the end of its input until SIGTERM, when it is disposed of; 3,000. */
  readonly graceMs: number;
  /** From SIGTERM until SIGKILL; 3,000. */
  readonly terminateMs: number;
  /** Longest line; longer ones are left out and told of; 1 MiB. */
  readonly lineBytes: number;
  /** Events that wait for a turn's reader before the agent has to wait; 1,000. */
  readonly queuedEvents: number;
}

export interface ProcessBackendOptions {
  readonly session: Session;
  readonly agent: string;
  /** What the server calls this kind of agent, `[a-z][a-z0-9_-]{0,62}`. */
  readonly backend: string;
  readonly command: string;
  readonly args?: readonly string[];
  /** Besides this process's own, without its tokens, and what AttachAgent answers. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Who its commits are by. */
  readonly author?: { readonly name: string; readonly email: string };
  readonly limits?: Partial<ProcessLimits>;
  /** Told every event, from the first on. */
  readonly onEvent?: (event: AgentEvent) => void;
}

/** The agent's process could not be started, or did not say in time that it is ready. */
export class AgentStartError extends Error {
  override readonly name = "AgentStartError";
}

export const defaultLimits: ProcessLimits = {
  readyMs: 30_000,
  cancelMs: 5_000,
  interruptMs: 3_000,
  graceMs: 3_000,
  terminateMs: 3_000,
  lineBytes: 1024 * 1024,
  queuedEvents: 1_000,
};

/** Secrets of the runner that are no business of an agent's. */
const secrets = ["LEASEHOLD_TOKEN", "LEASEHOLD_LEASE_TOKEN"];

/** What the agent's process is given. */
export function environmentOf(
  options: ProcessBackendOptions,
  attached: AttachedAgent,
): Readonly<Record<string, string>> {
  const inherited = Object.entries(process.env).filter(([name]) => !secrets.includes(name));
  return {
    ...(Object.fromEntries(inherited) as Record<string, string>),
    ...options.environment,
    ...attached.environment,
  };
}

/** Attaches; whoever had the agent before, under the same lease, is gone or was told so. */
export async function attach({ session, agent, backend, author }: ProcessBackendOptions): Promise<AttachedAgent> {
  const options = { agent, backend, ...(author && { author }) };
  const attached = await session.attach(options);
  if (!attached.alreadyAttached) return attached;
  if (attached.agent.state === AgentState.STARTING) return attached;
  await session.update({ agent, state: "STOPPED" }).catch((error: unknown) => {
    // it ended by itself in between
    if (!(error instanceof LeaseholdError) || error.reason !== "AGENT_STATE") throw error;
  });
  return await session.attach(options);
}

/** What cannot even be tried, such as an environment that is too large, leaves an agent that is FAILED, too. */
export async function orFailed<T>({ session, agent }: ProcessBackendOptions, make: () => T): Promise<T> {
  try {
    return make();
  } catch (error) {
    const problem = `the agent's process could not be started: ${error instanceof Error ? error.message : "unknown"}`;
    await session.update({ agent, state: "FAILED", problem: problem.slice(0, 500) }).catch(() => undefined);
    throw new AgentStartError(problem);
  }
}

export function resumable({ resume, backendSessionId }: SessionAgent): string | null {
  return resume?.possible && backendSessionId !== "" ? backendSessionId : null;
}

export function blockerOf({ resume }: SessionAgent): keyof typeof ResumeBlocker {
  return (ResumeBlocker[resume?.blocker ?? 0] ?? "UNSPECIFIED") as keyof typeof ResumeBlocker;
}

export function describe({ error, status, signal }: Ending): string {
  if (error !== undefined) return `the agent's process could not be started: ${error.message}`;
  return `the agent's process ended ${signal === null ? `with status ${status}` : `by ${signal}`}`;
}
