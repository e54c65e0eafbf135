/**
 * Owns: programs that are not ours: how tests ask for one that must be fetched or built, and how they run it.
 *
 * 1. A tool that this machine cannot have (no compiler, no registry) makes its tests skip, with the reason printed;
 *    `LEASEHOLD_INTEROP=required` makes them fail instead. A tool that is there and does not work fails them always.
 * 2. No process outlives its limit, nor do its children.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, beforeEach } from "vitest";
import { cleanEnvironment } from "../support/environment.js";

/** The root of the sources. */
export const root = fileURLToPath(new URL("../..", import.meta.url));

/** How long building one tool may take, in milliseconds: a minute or two, but much more on a machine that is busy. */
export const buildLimitMs = 300_000;
/** How long a registry has to show that it is there, in milliseconds. */
export const reachLimitMs = 60_000;

/** Somebody else's turn and one's own, so that what took so long is told by whoever knows it. */
export const prepareLimitMs = 2 * (reachLimitMs + buildLimitMs);

/** This machine cannot have the tool. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}

/** A tool that the tests of a file need: made before the first of them; without it they skip. */
export function needTool<T>(name: string, make: () => Promise<T>): () => T {
  let tool: { made: T } | { missing: string } | undefined;
  beforeAll(async () => {
    try {
      tool = { made: await make() };
    } catch (error) {
      if (!(error instanceof Unavailable) || process.env.LEASEHOLD_INTEROP === "required") throw error;
      tool = { missing: `no ${name}: ${error.message}` };
      process.stderr.write(`interop: skipped, ${tool.missing}\n`);
    }
  }, prepareLimitMs);
  beforeEach(({ skip }) => {
    if (tool !== undefined && "missing" in tool) skip(tool.missing);
  });
  return () => {
    if (tool === undefined || "missing" in tool) throw new Error(`${name} was not made`);
    return tool.made;
  };
}

export interface Ran {
  /** Undefined if there is no such program, or it was ended at its limit. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** 30,000 unless given. */
  readonly limitMs?: number;
}

/** Runs a program to its end. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { cwd, env, limitMs = 30_000 } = options;
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, so that a compiler's children end with it.
      detached: true,
      ...(cwd !== undefined && { cwd }),
      env: cleanEnvironment(env),
    });
    const output = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output.stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      output.stderr += text;
    });
    const limit = setTimeout(() => {
      output.stderr += `\nended after ${limitMs} ms`;
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    }, limitMs);
    child.once("error", (error) => {
      clearTimeout(limit);
      resolve({ ...output, code: undefined, stderr: error.message });
    });
    child.once("close", (code) => {
      clearTimeout(limit);
      resolve({ ...output, code: code ?? undefined });
    });
  });
}

/** Runs a program that must work; answers its standard output. */
export async function mustRun(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}: ${stderr}${stdout}`);
  return stdout;
}

/** Runs a program without which the machine cannot have the tool. */
export async function mayRun(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code === 0) return stdout;
  const said = (stderr || stdout).trim().split("\n").at(-1) ?? "";
  throw new Unavailable(`\`${command} ${args.slice(0, 3).join(" ")}\` failed: ${said}`);
}
