/**
 * Owns the process of the command that `run` runs.
 *
 * Invariants:
 * 1. In the foreground of a terminal the command shares our process group, so that Ctrl-C, Ctrl-Z and the terminal
 *    itself work as if it had been started alone; the terminal's own signals reach it without us and are not sent twice.
 * 2. Anywhere else it gets a process group of its own, and every signal is passed on to all of that group.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { inForeground, withDescendants } from "./process-tree.js";

/** Signals that are passed on. */
export const forwarded = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;
export type Forwarded = (typeof forwarded)[number];

/** Those that a terminal sends to its whole foreground group by itself. */
const fromTerminal: ReadonlySet<Forwarded> = new Set<Forwarded>(["SIGINT", "SIGQUIT"]);

export type Outcome =
  | { readonly type: "exited"; readonly status: number }
  | { readonly type: "signalled"; readonly signal: NodeJS.Signals }
  | { readonly type: "unstartable"; readonly error: NodeJS.ErrnoException };

export interface CommandOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly directory: string;
  readonly environment: NodeJS.ProcessEnv;
}

export class CommandProcess {
  readonly #child: ChildProcess;
  readonly #ownGroup: boolean;
  #running = true;
  /** How it ended. Never rejects. */
  readonly outcome: Promise<Outcome>;

  constructor(options: CommandOptions) {
    this.#ownGroup = !inForeground();
    this.#child = spawn(options.command, [...options.args], {
      cwd: options.directory,
      env: options.environment,
      stdio: "inherit",
      detached: this.#ownGroup,
    });
    this.outcome = new Promise<Outcome>((resolve) => {
      this.#child.once("error", (error) => resolve({ type: "unstartable", error }));
      this.#child.once("exit", (status, signal) =>
        resolve(signal === null ? { type: "exited", status: status ?? 0 } : { type: "signalled", signal }),
      );
    }).finally(() => {
      this.#running = false;
    });
  }

  /** Passes on a signal that this process was sent. */
  forward(signal: Forwarded): void {
    if (!this.#ownGroup && fromTerminal.has(signal) && inForeground()) return;
    this.#send(signal);
  }

  /** Ends the command and all that it started: asks first, and forces it after the grace. */
  async kill(graceMs: number): Promise<void> {
    const targets = this.#targets();
    this.#send("SIGTERM", targets);
    // What was stopped could not end.
    this.#send("SIGCONT", targets);
    const force = setTimeout(() => this.#send("SIGKILL", [...targets, ...this.#targets()]), graceMs);
    await this.outcome;
    clearTimeout(force);
    // The command has ended; what it left in its group would go on writing.
    this.#send("SIGKILL", targets);
  }

  /** Process ids, a whole group as its negative. */
  #targets(): number[] {
    const { pid } = this.#child;
    if (pid === undefined) return [];
    if (this.#ownGroup) return [-pid];
    return this.#running ? withDescendants(pid) : [];
  }

  #send(signal: NodeJS.Signals, targets = this.#ownGroup ? this.#targets() : [this.#child.pid ?? 0]): void {
    for (const target of targets) {
      if (target === 0) continue;
      try {
        process.kill(target, signal);
      } catch (error) {
        // It has ended, or belongs to another user by now; the others still get theirs.
        const { code } = error as NodeJS.ErrnoException;
        if (code !== "ESRCH" && code !== "EPERM") throw error;
      }
    }
  }
}

/** A signal's number, for an exit status. */
export function signalNumber(signal: NodeJS.Signals): number {
  return constants.signals[signal];
}
