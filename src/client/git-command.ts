/**
 * Owns running the `git` program beside a workspace, for `scan`.
 *
 * Invariants:
 * 1. Files are read, and objects written, with a git directory of ours: no configuration of the workspace's `.git` is
 *    obeyed there. Its own is only asked where its references are (`ScanTree.head`, `remoteTips`), which starts no program.
 *    Nothing of this process's `GIT_*` variables reaches git.
 * 2. What is kept of an output is bounded by whoever reads it.
 */
import { spawn } from "node:child_process";

export interface GitOptions {
  readonly environment: Readonly<Record<string, string>>;
  readonly directory: string;
  readonly signal?: AbortSignal | undefined;
  readonly input?: string | Buffer;
  /** Statuses that are no failure; 0 is none ever. */
  readonly tolerated?: readonly number[];
  /** Is given the output piece by piece; without it, the answer has all of it. */
  readonly onOutput?: (piece: Buffer) => void;
}

export interface GitAnswer {
  readonly output: Buffer;
  readonly status: number;
  /** What git complained of, at most 8 KiB. */
  readonly complaint: string;
}

/** git could not be run, or failed. */
export class GitError extends Error {
  override readonly name = "GitError";
  readonly complaint: string;

  constructor(message: string, complaint: string) {
    super(message);
    this.complaint = complaint;
  }
}

const mostComplaint = 8 * 1024;

/** How long one command may take, in milliseconds: one that waits for a pipe in the place of a file ends, too. */
const longestMs = 10 * 60 * 1_000;

/** Against whatever a user's own configuration says: nothing that starts a program or changes what a scan sees. */
const settings = Object.entries({
  "core.fsmonitor": "false",
  "core.untrackedCache": "false",
  "core.splitIndex": "false",
  "core.bare": "false",
  "core.bigFileThreshold": "16m",
  "core.quotePath": "false",
  "gc.auto": "0",
  "advice.addEmbeddedRepo": "false",
  "submodule.recurse": "false",
  "diff.renameLimit": "1000",
}).flatMap(([name, value]) => ["-c", `${name}=${value}`]);

export function runGit(args: readonly string[], options: GitOptions): Promise<GitAnswer> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("GIT_"));
  const { signal, onOutput, tolerated = [], input = "" } = options;
  signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    const child = spawn("git", [...settings, ...args], {
      cwd: options.directory,
      env: {
        ...Object.fromEntries(inherited),
        ...{ LC_ALL: "C", GIT_TERMINAL_PROMPT: "0", GIT_OPTIONAL_LOCKS: "0", GIT_NO_LAZY_FETCH: "1" },
        ...options.environment,
      },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const stop = () => child.kill("SIGKILL");
    // the one that spawn offers goes on where git could not be started
    const late = setTimeout(stop, longestMs);
    signal?.addEventListener("abort", stop, { once: true });
    const output: Buffer[] = [];
    let complaint = "";
    child.stdout.on("data", onOutput ?? ((piece: Buffer) => output.push(piece)));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaint = (complaint + text).slice(-mostComplaint);
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    const ended = (act: () => void) => {
      clearTimeout(late);
      signal?.removeEventListener("abort", stop);
      act();
    };
    child.once("error", (error) => ended(() => reject(new GitError(`git cannot be started: ${error.message}`, ""))));
    child.once("close", (status, killed) =>
      ended(() => {
        if (signal?.aborted) reject(signal.reason);
        else if (status === 0 || (status !== null && tolerated.includes(status))) {
          resolve({ output: Buffer.concat(output), status, complaint });
        } else {
          const why = complaint.trim() || `it ended with ${status ?? killed}`;
          reject(new GitError(`git ${args[0]} failed: ${why}`, complaint));
        }
      }),
    );
  });
}
