/**
 * Owns one turn as its reader has it: a bounded queue between an agent that talks and a reader that takes its time.
 *
 * Invariants:
 * 1. While the queue is full the agent is not listened to. Once nobody is to read any more, it is, and nothing is kept.
 * 2. The result is told once and last, whatever was dropped.
 */
import type { AgentTurn } from "./agent-backend.js";
import type { AgentEvent, TurnResult } from "./agent-event.js";

export interface TurnControl {
  readonly turn: number;
  readonly mostQueued: number;
  /** The queue is full, or is not any more. */
  readonly onFull: (full: boolean) => void;
  readonly cancel: () => Promise<void>;
}

export class ProcessTurn implements AgentTurn {
  readonly turn: number;
  readonly #control: TurnControl;
  #queue: AgentEvent[] = [];
  #full = false;
  /** The agent is not to wait any more: what is above the bound is let go. */
  #dropping = false;
  /** Nobody reads. */
  #discarding = false;
  #taken = false;
  #wake: (() => void) | undefined;
  #resolve: (result: TurnResult) => void = () => {};
  readonly #result = new Promise<TurnResult>((resolve) => {
    this.#resolve = resolve;
  });
  #over = false;

  constructor(control: TurnControl) {
    this.turn = control.turn;
    this.#control = control;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Resolves when the turn is over. */
  get result(): Promise<TurnResult> {
    return this.#result;
  }

  /** Called by the backend, for each event of the turn. */
  add(event: AgentEvent): void {
    if (this.#over) return;
    if (event.type === "turnResult") {
      this.#over = true;
      const { type, outcome, text, usage } = event;
      this.#resolve({ type, outcome, text, ...(usage && { usage }) });
    }
    const full = this.#queue.length >= this.#control.mostQueued;
    if (this.#over || !(this.#discarding || (this.#dropping && full))) this.#queue.push(event);
    if (!this.#full && !this.#dropping && this.#queue.length >= this.#control.mostQueued) {
      this.#full = true;
      this.#control.onFull(true);
    }
    this.#wake?.();
  }

  /** Lets go what is not read in time: a turn that is cancelled has to come to its end, whoever reads. */
  drop(): void {
    this.#dropping = true;
    this.#empty();
  }

  done(): Promise<TurnResult> {
    this.#take();
    this.#queue = [];
    this.#discarding = true;
    this.drop();
    return this.#result;
  }

  cancel(): Promise<void> {
    return this.#over ? Promise.resolve() : this.#control.cancel();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<AgentEvent, void, undefined> {
    this.#take();
    let told = false;
    try {
      for (;;) {
        const event = this.#queue.shift();
        if (event === undefined) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          continue;
        }
        if (this.#queue.length < this.#control.mostQueued / 2) this.#empty();
        told = event.type === "turnResult";
        yield event;
        if (told) return;
      }
    } finally {
      // the reader left
      if (!told) {
        this.#discarding = true;
        this.drop();
        await this.cancel();
      }
    }
  }

  #take(): void {
    if (this.#taken) throw new Error("the events of a turn are read once");
    this.#taken = true;
  }

  #empty(): void {
    if (!this.#full) return;
    this.#full = false;
    this.#control.onFull(false);
  }
}
