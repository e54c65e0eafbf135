/**
 * Owns one worker process: its environment, its one running call, its end.
 *
 * Invariants:
 * 1. Hermetic: no configuration of the service user's git, no agent, no variable that git obeys reaches it.
 * 2. It has a HOME of its own, which is removed when it has gone.
 * 3. It dies with the server, also after kill -9, and whatever it does then: a pipe ends when the server does.
 * 4. However it ends, only the call that it was running fails.
 * 5. Where the system has no room for a process, for its pipes say, making one throws, and nothing is left.
 */
import { type ChildProcess, fork } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MirrorProgress } from "../domain/repository.js";
import {
  type CallMessage,
  type Fault,
  holderVariable,
  homePrefix,
  lifelineDescriptor,
  type WorkerMessage,
} from "./protocol.js";

/** Bytes of a worker's standard error that are kept for the log. */
const keptErrorBytes = 4096;

/** What the running call hears. */
export interface CallListener {
  progress(progress: MirrorProgress): void;
  done(answer: unknown): void;
  failed(fault: Fault): void;
  /** The process ended; `started` tells whether it had begun with the call. */
  died(detail: string, started: boolean): void;
}

export class WorkerProcess {
  readonly exited: Promise<void>;
  /** Calls that were finished. */
  calls = 0;
  /** Resident memory after the last call, in bytes. */
  rss = 0;
  private readonly child: ChildProcess;
  private readonly home: string;
  private listener: CallListener | undefined;
  private started = false;
  private gone = false;
  private errors = "";

  /** `holder`: `UID:GID` of the holder's user in the two-uid layout. */
  constructor(entry: string, holder?: string) {
    this.home = mkdtempSync(join(tmpdir(), homePrefix));
    // libgit2, acting as the holder's user, has to see that there is no configuration here
    if (holder !== undefined) chmodSync(this.home, 0o711);
    this.child = fork(entry, [], {
      serialization: "advanced",
      execArgv: [],
      env: { ...environment(this.home), ...(holder !== undefined && { [holderVariable]: holder }) },
      cwd: this.home,
      // the last one is `lifelineDescriptor`
      stdio: ["ignore", "ignore", "pipe", "ipc", "pipe"],
    });
    if (this.child.pid === undefined) {
      // invariant 5: an event tells the reason, and would come too late
      this.child.on("error", () => {});
      this.removeHome();
      throw new Error("no process could be started");
    }
    for (const pipe of [this.child.stderr, this.child.stdio[lifelineDescriptor]]) pipe?.on("error", () => {});
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.errors = (this.errors + text).slice(-keptErrorBytes);
    });
    this.child.on("message", (message) => this.receive(message as WorkerMessage));
    this.exited = new Promise((resolve) => {
      this.child.on("error", (error) => this.end(`could not start: ${error.message}`, resolve));
      this.child.once("exit", (code, signal) => this.end(signal ?? `exit status ${code}`, resolve));
    });
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  get busy(): boolean {
    return this.listener !== undefined;
  }

  get alive(): boolean {
    return !this.gone && this.child.connected;
  }

  call(message: CallMessage, listener: CallListener): void {
    // A failure to send means that it is dying: `exit` follows and tells the listener.
    this.child.send(message, () => {});
    this.listener = listener;
    this.started = false;
  }

  /** Ends it at once, whatever it does. The running call, if any, hears `died`. */
  kill(): void {
    this.child.kill("SIGKILL");
  }

  private receive(message: WorkerMessage): void {
    const listener = this.listener;
    if (message.kind === "started") this.started = true;
    if (message.kind === "progress") listener?.progress(message.progress);
    if (message.kind !== "done" && message.kind !== "failed") return;
    this.listener = undefined;
    this.calls += 1;
    this.rss = message.rss;
    if (message.kind === "done") listener?.done(message.answer);
    else listener?.failed(message.fault);
  }

  private end(how: string, resolve: () => void): void {
    if (this.gone) return;
    this.gone = true;
    const listener = this.listener;
    this.listener = undefined;
    this.removeHome();
    listener?.died(this.errors ? `${how}: ${this.errors.trim()}` : how, this.started);
    resolve();
  }

  private removeHome(): void {
    try {
      rmSync(this.home, { recursive: true, force: true });
    } catch {
      // A full or failing temporary directory must not take the server down; the leftover is empty or nearly so.
    }
  }
}

/** The environment of invariant 1: named variables only, nothing is inherited by default. */
function environment(home: string): NodeJS.ProcessEnv {
  const kept: NodeJS.ProcessEnv = {};
  // SSL_CERT_*: where the machine keeps its trust store, if it says so; LD_LIBRARY_PATH: how Node itself is found to run.
  for (const name of ["PATH", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"]) {
    const value = process.env[name];
    if (value !== undefined) kept[name] = value;
  }
  return {
    ...kept,
    LANG: "C.UTF-8",
    HOME: home,
    XDG_CONFIG_HOME: join(home, ".config"),
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    // Checkouts read and write thousands of files; more threads than that only contend on directories.
    UV_THREADPOOL_SIZE: "4",
  };
}
