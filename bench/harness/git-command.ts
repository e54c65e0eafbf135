/**
 * Owns how the benchmark runs the `git` program: as the peer, and to make upstreams.
 *
 * Invariant: no configuration of this machine's user has a say, so that figures of two machines mean the same.
 */
import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

export const gitEnvironment: NodeJS.ProcessEnv = {
  PATH: process.env.PATH,
  HOME: "/nonexistent",
  LANG: "C.UTF-8",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_TERMINAL_PROMPT: "0",
  GIT_AUTHOR_NAME: "bench",
  GIT_AUTHOR_EMAIL: "bench@example.com",
  GIT_COMMITTER_NAME: "bench",
  GIT_COMMITTER_EMAIL: "bench@example.com",
};

/** Runs git in a directory and answers its output; fails with what it said. */
export async function git(directory: string, args: readonly string[], input?: Readable): Promise<string> {
  const child = spawn("git", [...safe, ...args], { cwd: directory, env: gitEnvironment });
  let output = "";
  let problem = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    problem = (problem + text).slice(-2_000);
  });
  const ended = new Promise<number | null>((resolve, reject) => child.once("error", reject).once("close", resolve));
  if (input) await pipeline(input, child.stdin);
  else child.stdin.end();
  const code = await ended;
  if (code !== 0) throw new Error(`git ${args[0]} ended with ${code}: ${problem.trim()}`);
  return output.trim();
}

/** Workspaces and mirrors may be another user's. */
const safe = ["-c", "safe.directory=*"];
