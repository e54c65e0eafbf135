/**
 * Owns: real processes that go on in a workspace after its lease has ended.
 *
 * 1. Whatever a file started is gone after it, with all its children.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { afterEach } from "vitest";
import { until } from "./until.js";

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number;
  readonly gid?: number;
}

export interface Processes {
  /** Starts a program in a process group of its own; answers its id. */
  run(command: string, args: readonly string[], options?: RunOptions): number;
  /** The same for a script of the shell; `$1` and on are `args`. */
  shell(script: string, args: readonly string[], options?: RunOptions): number;
}

/** For the whole file: call it at the top level. */
export function useProcesses(): Processes {
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const { pid } of children.splice(0)) {
      try {
        if (pid !== undefined) process.kill(-pid, "SIGKILL");
      } catch {
        // it has ended by itself
      }
    }
  });
  const run = (command: string, args: readonly string[], { cwd = tmpdir(), env, uid, gid }: RunOptions = {}) => {
    const child = spawn(command, args, {
      cwd,
      detached: true,
      stdio: "ignore",
      env: { PATH: process.env.PATH, ...env },
      ...(uid !== undefined && { uid }),
      ...(gid !== undefined && { gid }),
    });
    child.on("error", () => {});
    if (child.pid === undefined) throw new Error(`${command} could not be started`);
    children.push(child);
    return child.pid;
  };
  return { run, shell: (script, args, options) => run("/bin/sh", ["-c", script, "sh", ...args], options) };
}

/** Whether a process runs: one that has ended and is not waited for does not. */
export function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX] /s.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

/** Waits until a file of a writer's own has grown: it goes on. */
export async function whenGrown(file: string, times = 5): Promise<void> {
  const size = () => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  const before = size();
  await until(`${file} grows`, () => size() > before + times);
}
