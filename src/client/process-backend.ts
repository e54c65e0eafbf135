/**
 * Owns an agent that is a command-line program in a session's workspace, speaking the protocol of agent-protocol.ts.
 *
 * Invariants:
 * 1. Its backend session id is stored as soon as the agent tells it, and the next backend of the agent goes on with that
 *    conversation where the server says that it can; otherwise it begins a new one, and says why.
 * 2. Whatever the agent writes, or however it ends, is an event; every turn has one result.
 * 3. Nothing of the agent's process group works on after the lease is lost, the backend was disposed of, or this process died.
 * 4. The agent never gets a token.
 */
import { stat } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import type { ResumeBlocker } from "../../gen/leasehold/v1/session_pb.js";
import type { AgentBackend, AgentTurn, BackendHealth, TurnOptions } from "./agent-backend.js";
import type { AgentErrorCode, AgentEvent, AgentEventBody } from "./agent-event.js";
import { AgentProcess, type Ending, within } from "./agent-process.js";
import type * as protocolModule from "./agent-protocol.js";
import type { AgentMessage, RunnerMessage } from "./agent-protocol.js";
import { AgentRecord, type RecordedState } from "./agent-record.js";
import {
  AgentStartError,
  attach,
  blockerOf,
  defaultLimits,
  describe,
  environmentOf,
  orFailed,
  type ProcessBackendOptions,
  type ProcessLimits,
  resumable,
} from "./process-start.js";
import { ProcessTurn } from "./process-turn.js";
import type { AttachedAgent } from "./session.js";

export class ProcessBackend implements AgentBackend {
  readonly sessionId: string;
  readonly agent: string;
  /** Whether the agent goes on with its conversation, and if not, why not. */
  readonly resume: { readonly asked: boolean; readonly blocker: keyof typeof ResumeBlocker };
  readonly #options: ProcessBackendOptions;
  readonly #limits: ProcessLimits;
  readonly #protocol: typeof protocolModule;
  readonly #process: AgentProcess;
  readonly #record: AgentRecord;
  readonly #listeners = new Set<(event: AgentEvent) => void>();
  readonly #ended: Promise<void>;
  #ready: () => void = () => {};
  #state: BackendHealth["state"] = "STARTING";
  #backendSessionId: string | undefined;
  #turn: ProcessTurn | undefined;
  #turns = 0;
  #heardTime: string | undefined;
  #problem = "";
  #cancelling = false;
  /** Why it is ended from here; undefined while it is not. */
  #ending: { readonly state: "FAILED" | "STOPPED"; readonly problem: string } | undefined;
  #disposing: Promise<void> | undefined;
  readonly #onLost = () => this.#lose();

  /** Attaches the agent, starts its process, and waits until it is ready. */
  static async start(options: ProcessBackendOptions): Promise<ProcessBackend> {
    const { session, agent } = options;
    session.lost.throwIfAborted();
    const protocol = await import("./agent-protocol.js");
    if (!(await stat(session.path).catch(() => undefined))?.isDirectory()) {
      throw new AgentStartError(`${session.path} is not here: agents run on the session's host, ${session.host}`);
    }
    const attached = await attach(options);
    const backend = await orFailed(options, () => new ProcessBackend(options, attached, protocol));
    if (await backend.#untilReady()) return backend;
    await backend.dispose();
    throw new AgentStartError(`the agent ${agent} did not start: ${backend.#problem}`);
  }

  private constructor(options: ProcessBackendOptions, attached: AttachedAgent, protocol: typeof protocolModule) {
    const { session, agent, command, args = [] } = options;
    this.sessionId = session.sessionId;
    this.agent = agent;
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#protocol = protocol;
    if (options.onEvent) this.#listeners.add(options.onEvent);
    this.#record = new AgentRecord(session, attached.agent, (error) => {
      if (error.reason === "BACKEND_SESSION_IN_USE") this.#fail("BACKEND_SESSION_IN_USE", error.message);
      else this.#error("NOT_STORED", `the server's record of the agent is behind: ${error.message}`, false);
    });
    const resumed = resumable(attached.agent);
    this.resume = { asked: resumed !== null, blocker: blockerOf(attached.agent) };
    this.#backendSessionId = resumed ?? undefined;
    this.#process = new AgentProcess({
      ...{ command, args, directory: session.path, mostLineBytes: this.#limits.lineBytes },
      environment: environmentOf(options, attached),
      onLine: (line) => this.#hear(line),
      onTooLong: (most) => this.#error("LINE_TOO_LONG", `a line of more than ${most} bytes was left out`, false),
      onClosed: () => this.#fail("STDOUT_CLOSED", "the agent closed its output and went on"),
    });
    this.#ended = this.#process.ended.then((ending) => this.#end(ending));
    session.lost.addEventListener("abort", this.#onLost, { once: true });
    if (session.lost.aborted) this.#lose();
    const blocker = resumed === null ? this.resume.blocker : null;
    this.#tell({ type: "status", state: "STARTING", detail: blocker === null ? "resumes" : `begins anew: ${blocker}` });
    const place = { session: session.sessionId, agent, directory: session.path };
    this.#send({ type: "start", protocol: protocol.protocolVersion, ...place, resume: resumed, blocker });
  }

  /** The process, and with its negative the group, of the agent. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  subscribe(listener: (event: AgentEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  health(): BackendHealth {
    const { sessionId, agent } = this;
    return {
      ...{ sessionId, agent, backend: this.#options.backend, state: this.#state, alive: this.#alive },
      backendSessionId: this.#backendSessionId,
      turn: this.#turn?.turn ?? 0,
      heardTime: this.#heardTime,
      problem: this.#problem,
    };
  }

  turn(text: string, { signal }: TurnOptions = {}): AgentTurn {
    signal?.throwIfAborted();
    if (!this.#alive) throw new Error(`the agent ${this.agent} has ended: ${this.#problem || this.#state}`);
    if (this.#turn !== undefined) throw new Error(`the agent ${this.agent} is at work on turn ${this.#turn.turn}`);
    const turn: ProcessTurn = new ProcessTurn({
      turn: ++this.#turns,
      mostQueued: this.#limits.queuedEvents,
      onFull: (full) => this.#process.setPaused(full),
      cancel: () => this.#cancel(turn),
    });
    this.#turn = turn;
    const onAbort = () => void this.#cancel(turn);
    signal?.addEventListener("abort", onAbort, { once: true });
    void turn.result.then(() => signal?.removeEventListener("abort", onAbort));
    this.#move("RUNNING", "");
    this.#send({ type: "turn", turn: turn.turn, text });
    return turn;
  }

  dispose(): Promise<void> {
    this.#disposing ??= (async () => {
      this.#ending ??= { state: "STOPPED", problem: "" };
      this.#turn?.drop();
      this.#send({ type: "stop" });
      await this.#process.end(this.#limits.graceMs, this.#limits.terminateMs);
      await this.#ended;
    })();
    return this.#disposing;
  }

  get #alive(): boolean {
    return this.#ending === undefined && (this.#state === "RUNNING" || this.#state === "IDLE");
  }

  async #untilReady(): Promise<boolean> {
    const { readyMs } = this.#limits;
    const ready = new Promise<void>((resolve) => {
      this.#ready = resolve;
    });
    await within(readyMs, Promise.race([ready, this.#ended]));
    if (this.#state === "STARTING") this.#ending ??= this.#failure(`not ready within ${readyMs} ms`);
    return this.#alive;
  }

  #hear(line: string): void {
    this.#heardTime = new Date().toISOString();
    const { message, fault } = this.#protocol.parseLine(line);
    if (message === undefined) return this.#error("LINE_INVALID", fault, false);
    if (message.type === "ready") return this.#begin(message);
    if (message.type === "session") return this.#learn(message.session);
    if (message.type === "result" && message.turn !== this.#turn?.turn) {
      return this.#error("LINE_INVALID", `result of turn ${message.turn}, which does not run`, false);
    }
    const working = this.#turn === undefined ? "IDLE" : "RUNNING";
    const event = this.#protocol.eventOf(message, this.#state === "STARTING" ? "STARTING" : working);
    if (event?.type === "turnResult") this.#finish(event);
    else if (event !== undefined) this.#tell(event);
  }

  #begin({ session, resumed }: Extract<AgentMessage, { type: "ready" }>): void {
    if (this.#state !== "STARTING") return this.#error("LINE_INVALID", "ready, a second time", false);
    const asked = this.#backendSessionId;
    if (asked !== undefined && (!resumed || (session ?? asked) !== asked)) {
      this.#backendSessionId = undefined;
      this.#error("RESUME_REFUSED", `the agent does not know its conversation ${asked} any more`, false);
    }
    if (session !== undefined) this.#learn(session);
    this.#move("IDLE", resumed && asked !== undefined ? "resumed" : "");
    this.#ready();
  }

  /** The agent has told which conversation this is. */
  #learn(backendSessionId: string): void {
    if (backendSessionId === this.#backendSessionId) return;
    this.#backendSessionId = backendSessionId;
    void this.#record.store(backendSessionId);
  }

  #move(state: "RUNNING" | "IDLE" | "FAILED" | "STOPPED", detail: string, problem = ""): void {
    this.#state = state;
    this.#tell({ type: "status", state, detail });
    void this.#record.state(state satisfies RecordedState, problem);
  }

  #finish(result: Extract<AgentEventBody, { type: "turnResult" }>): void {
    const turn = this.#turn;
    if (turn === undefined) return;
    this.#tell(result);
    this.#turn = undefined;
    this.#cancelling = false;
    this.#process.setPaused(false);
    if (this.#ending === undefined) this.#move("IDLE", "");
  }

  async #cancel(turn: ProcessTurn): Promise<void> {
    if (turn.over || this.#turn !== turn) return;
    // what it says now need not be read for the turn to end
    turn.drop();
    if (!this.#cancelling) {
      this.#cancelling = true;
      this.#send({ type: "cancel", turn: turn.turn });
      void this.#process.insist(turn.result, this.#limits, () => {
        this.#ending ??= { state: "STOPPED", problem: "" };
      });
    }
    await turn.result;
  }

  #lose(): void {
    this.#ending ??= { state: "STOPPED", problem: "the lease is lost" };
    this.#error("LEASE_LOST", "the lease is lost, so the agent was killed", true);
    void this.#process.kill();
  }

  #fail(code: AgentErrorCode, message: string): void {
    this.#ending ??= this.#failure(message);
    this.#error(code, message, true);
    void this.#process.end(0, this.#limits.terminateMs);
  }

  #failure(problem: string): { readonly state: "FAILED"; readonly problem: string } {
    this.#problem = problem;
    return { state: "FAILED", problem };
  }

  async #end(ending: Ending): Promise<void> {
    this.#options.session.lost.removeEventListener("abort", this.#onLost);
    const how = describe(ending);
    const asked = this.#ending !== undefined || (this.#cancelling && this.#turn !== undefined);
    if (!asked && (this.#turn !== undefined || this.#state === "STARTING" || ending.status !== 0)) {
      this.#ending = this.#failure(`${how}${this.#turn ? ` in the middle of turn ${this.#turn.turn}` : ""}`);
      const complaint = ending.complaint.trim();
      this.#error("EXITED", `${this.#problem}${complaint && `: ${complaint}`}`, true);
    }
    const { state, problem } = this.#ending ?? { state: "STOPPED", problem: "" };
    this.#ending = { state, problem };
    this.#problem = problem;
    const outcome = this.#cancelling ? "cancelled" : "failed";
    if (this.#turn) this.#finish({ type: "turnResult", outcome, text: problem || how });
    this.#state = state;
    this.#tell({ type: "status", state, detail: problem || how });
    await Promise.race([this.#record.state(state, problem.slice(0, 500)), pause(5_000, undefined, { ref: false })]);
  }

  #error(code: AgentErrorCode, message: string, fatal: boolean): void {
    this.#tell({ type: "error", code, message, fatal });
  }

  #tell(body: AgentEventBody): void {
    const { sessionId, agent } = this;
    const event: AgentEvent = {
      sessionId,
      agent,
      turn: this.#turn?.turn ?? 0,
      time: new Date().toISOString(),
      ...body,
    };
    this.#turn?.add(event);
    for (const listener of [...this.#listeners]) {
      try {
        listener(event);
      } catch {
        // a listener's own fault: neither the agent nor the others suffer from it
      }
    }
  }

  #send(message: RunnerMessage): void {
    this.#process.send(message);
  }
}
