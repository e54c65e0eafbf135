/**
 * Owns the process of an agent, and everything that it starts.
 *
 * Invariants:
 * 1. The agent has a process group of its own. When it ends, or is ended, what is left of that group is killed.
 * 2. When this process dies without a word, the agent's group is ended by a leash: a small process that waits on a pipe
 *    which only this process holds open.
 * 3. No more output is read while reading is paused, so the agent has to wait.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { type LineReader, LineSplitter } from "./agent-lines.js";

export interface AgentProcessOptions extends LineReader {
  readonly command: string;
  readonly args: readonly string[];
  readonly directory: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly mostLineBytes: number;
  /** Told when the agent closes its output and goes on. */
  readonly onClosed: () => void;
}

/** In milliseconds, as of ProcessLimits. */
export interface InsistLimits {
  readonly cancelMs: number;
  readonly interruptMs: number;
  readonly terminateMs: number;
}

export interface Ending {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  /** It could not be started at all. */
  readonly error?: Error;
  /** The end of what it wrote to standard error. */
  readonly complaint: string;
}

/** How long output may take to arrive after its process has ended, and the end after the output, in milliseconds. */
const drainMs = 1_000;
const mostComplaint = 8 * 1024;

/** Ends the group `$1` unless it is told in time that there is no need: its input then ends without a line. */
const leash = 'read -r word && exit 0; kill -s TERM -- "-$1"; sleep 2; kill -s KILL -- "-$1"';

export class AgentProcess {
  readonly #child: ChildProcess;
  readonly #leash: ChildProcess | undefined;
  #complaint = "";
  #paused = false;
  #exited = false;
  /** Resolves when it has ended, all that it said was told, and its group is gone. Never rejects. */
  readonly ended: Promise<Ending>;

  constructor(options: AgentProcessOptions) {
    const { command, args, directory, environment } = options;
    const child = spawn(command, [...args], {
      cwd: directory,
      env: { ...environment },
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child = child;
    const lines = new LineSplitter(options.mostLineBytes, options);
    child.stdout?.on("data", (bytes: Buffer) => lines.add(bytes));
    child.stdout?.once("end", () => {
      lines.end();
      setTimeout(() => this.#exited || options.onClosed(), drainMs).unref();
    });
    child.stdout?.on("error", () => undefined);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#complaint = (this.#complaint + text).slice(-mostComplaint);
    });
    // A write to one that is ending fails; that it ended is told anyway.
    child.stdin?.on("error", () => undefined);
    this.#leash = child.pid === undefined ? undefined : holdLeash(child.pid);
    this.ended = new Promise<Ending>((resolve) => {
      child.once("error", (error) => {
        if (child.pid !== undefined) return;
        this.#exited = true;
        resolve({ status: null, signal: null, error, complaint: "" });
      });
      child.once("exit", () => {
        this.#exited = true;
        this.signal("SIGKILL");
        // One of its children that left the group may hold the output open.
        setTimeout(() => this.#paused || child.stdout?.destroy(), drainMs).unref();
        setTimeout(() => child.stderr?.destroy(), drainMs).unref();
      });
      child.once("close", (status, signal) => {
        void this.#groupGone().then(() => {
          this.#leash?.stdin?.end("over\n");
          resolve({ status, signal, complaint: this.#complaint });
        });
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Sends a line. What the agent does not read waits in memory; that it never reads is for the caller to notice. */
  send(message: object): void {
    if (this.#child.stdin?.writable) this.#child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  setPaused(paused: boolean): void {
    this.#paused = paused;
    if (paused) this.#child.stdout?.pause();
    else this.#child.stdout?.resume();
    if (!paused && this.#exited) setTimeout(() => this.#child.stdout?.destroy(), drainMs).unref();
  }

  /** Sends a signal to the whole group. */
  signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ESRCH" && code !== "EPERM") throw error;
    }
  }

  /** Ends it: its input ends, then come SIGTERM and SIGKILL, each after its time in milliseconds. */
  async end(graceMs: number, terminateMs: number): Promise<void> {
    this.#child.stdin?.end();
    // Nobody reads what it says now, and a full pipe must not keep it from ending.
    this.setPaused(false);
    if (await within(graceMs, this.ended)) return;
    this.signal("SIGTERM");
    // What was stopped could not end.
    this.signal("SIGCONT");
    if (await within(terminateMs, this.ended)) return;
    await this.kill();
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    this.setPaused(false);
    await this.ended;
  }

  /**
   * SIGINT, SIGTERM and SIGKILL to the group, each after its time, until `over` resolves; from SIGTERM on until it has
   * ended, since it cannot go on then: `onForce` is told.
   */
  async insist(over: Promise<unknown>, limits: InsistLimits, onForce: () => void): Promise<void> {
    const { cancelMs, interruptMs, terminateMs } = limits;
    const steps = [
      [cancelMs, "SIGINT"],
      [interruptMs, "SIGTERM"],
      [terminateMs, "SIGKILL"],
    ] as const;
    let awaited = over;
    for (const [ms, signal] of steps) {
      if (await within(ms, awaited)) return;
      if (signal !== "SIGINT") {
        awaited = this.ended;
        onForce();
      }
      this.signal(signal);
      this.signal("SIGCONT");
    }
  }

  /** Waits until nobody is left in the group; what was killed goes at once, but for what hangs in the kernel. */
  async #groupGone(): Promise<void> {
    const { pid } = this.#child;
    if (pid === undefined) return;
    for (let attempt = 0; attempt < 50; attempt++) {
      try {
        process.kill(-pid, 0);
      } catch {
        return;
      }
      await pause(20);
    }
  }
}

/** Whether something comes to be in time; what it rejects with is as good. */
export async function within(ms: number, awaited: Promise<unknown>): Promise<boolean> {
  const timer = new AbortController();
  const late = pause(ms, false, { signal: timer.signal }).catch(() => false);
  const there = () => true;
  const outcome = await Promise.race([awaited.then(there, there), late]);
  timer.abort();
  return outcome;
}

function holdLeash(group: number): ChildProcess {
  const child = spawn("/bin/sh", ["-c", leash, "leash", String(group)], {
    // not in the workspace, which it would seem to use
    cwd: "/",
    env: { PATH: "/usr/bin:/bin" },
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  child.on("error", () => undefined);
  child.stdin?.on("error", () => undefined);
  child.unref();
  (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
  return child;
}
