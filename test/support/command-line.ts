/**
 * Owns how tests run the built command line: as a process of its own.
 *
 * 1. It gets nothing of this process's configuration: see environment.ts.
 * 2. What a file started is gone after it, also where a test failed before it ended it.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import { cleanEnvironment } from "./environment.js";

export const bin = fileURLToPath(new URL("../../dist/src/main.js", import.meta.url));

export interface Finished {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  /** Resolves when standard output holds `text`; rejects if the process ends without it. */
  printed(text: string): Promise<void>;
  readonly finished: Promise<Finished>;
}

const started = new Map<ChildProcess, Promise<unknown>>();

/** Ends what this file started and still runs, without a chance to tidy up. It is called at the end of every file. */
export async function endStarted(): Promise<void> {
  for (const child of started.keys()) {
    try {
      // a group of its own
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
  await Promise.all(started.values());
}
afterAll(endStarted);

/** Starts `leasehold ARGS` in a process group of its own, without a terminal. */
export function start(address: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Running {
  if (!existsSync(bin)) throw new Error("not built: `npx tsc -p .` makes dist/");
  const child = spawn(process.execPath, [bin, ...args], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: cleanEnvironment({ LEASEHOLD_ADDRESS: address, LEASEHOLD_TOKEN: "", ...environment }),
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const finished = once(child, "close").then(([status, signal]) => {
    started.delete(child);
    return { status, signal, stdout, stderr } as Finished;
  });
  started.set(child, finished);
  return {
    child,
    finished,
    printed: (text) =>
      new Promise((resolve, reject) => {
        const look = () => stdout.includes(text) && resolve();
        child.stdout.on("data", look);
        look();
        void finished.then(() => reject(new Error(`ended without printing ${text}: ${stdout}${stderr}`)));
      }),
  };
}

export function leasehold(
  address: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<Finished> {
  return start(address, args, environment).finished;
}

/** A directory that is gone when it is disposed of. */
export async function temporaryDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await realpath(await mkdtemp(join(tmpdir(), "leasehold-cli-")));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Node has no pseudo-terminals; Python's standard library does. */
export const hasTerminals = spawnSync("python3", ["-c", "import pty"]).status === 0;
if (!hasTerminals) process.stderr.write("tests on a terminal are skipped: there is no python3\n");

/** Runs `leasehold ARGS` in the foreground of a terminal; types `keys` there once it has printed `after`. */
export async function onTerminal(
  address: string,
  args: readonly string[],
  typing: { readonly after: string; readonly keys: string } = { after: "", keys: "" },
): Promise<{ readonly stdout: string; readonly status: number }> {
  const python = `
import os, pty, sys
after, keys, command = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
pid, fd = pty.fork()
if pid == 0: os.execv(command[0], command)
seen = b""
while True:
    try: data = os.read(fd, 4096)
    except OSError: break
    if not data: break
    seen += data
    if keys and after in seen:
        os.write(fd, keys)
        keys = b""
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`;
  const child = spawn("python3", ["-c", python, typing.after, typing.keys, process.execPath, bin, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: cleanEnvironment({ LEASEHOLD_ADDRESS: address, LEASEHOLD_TOKEN: "", TERM: "xterm" }),
  });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  const [status] = (await once(child, "close")) as [number];
  return { stdout, status };
}
