// Owns: running programs: quietly with a moving line, or in place of this process.
import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { holdLockFor } from "./lock.mjs";

const ending = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);

/** How much of a failed program's output is shown. */
const shownLines = 30;

/** What failed and is said to the user as it stands, without a stack. */
export class SetupError extends Error {}

/**
 * Runs a program to its end with its output kept aside; throws with the end of that output if it fails.
 * @param {string} program
 * @param {string[]} flags
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, what: string }} options
 */
export async function runQuietly(program, flags, { cwd, env, what }) {
  const directory = mkdtempSync(join(tmpdir(), "leasehold-setup-"));
  const file = join(directory, "output");
  const output = openSync(file, "w");
  const tidy = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", tidy);
  try {
    const status = await runInGroup(program, flags, {
      cwd,
      env: env ?? process.env,
      stdio: ["ignore", output, output],
    });
    if (status !== 0) {
      const lines = readFileSync(file, "utf8").trimEnd().split("\n").slice(-shownLines);
      throw new SetupError(`${what} failed (${status}):\n${lines.map((line) => `  ${line}`).join("\n")}`);
    }
  } finally {
    closeSync(output);
    process.off("exit", tidy);
    tidy();
  }
}

/** @returns {Promise<number | string | null>} */
function runInGroup(program, flags, options) {
  // A group of its own, so that it ends with all that it started when this process is told to end.
  const child = spawn(program, flags, { ...options, detached: true });
  if (child.pid !== undefined) {
    holdLockFor(child.pid);
  }
  const end = (signal) => {
    try {
      process.kill(-(child.pid ?? 0), signal);
    } catch {}
    process.exit(128 + constants.signals[signal]);
  };
  for (const signal of ending) {
    process.on(signal, end);
  }
  return new Promise((done) => {
    child.once("error", (error) => done(error.message));
    child.once("close", (code, signal) => done(code ?? signal));
  }).finally(() => {
    for (const signal of ending) {
      process.off(signal, end);
    }
    holdLockFor(undefined);
  });
}

/**
 * Runs a program and answers whether it succeeded.
 * @param {string} program
 * @param {string[]} flags
 * @param {{ cwd?: string, input?: string }} options
 * @returns {Promise<boolean>}
 */
export function succeeds(program, flags, { cwd, input } = {}) {
  return new Promise((done) => {
    const child = spawn(program, flags, { cwd, stdio: [input === undefined ? "ignore" : "pipe", "ignore", "ignore"] });
    child.once("error", () => done(false));
    child.once("close", (code) => done(code === 0));
    child.stdin?.on("error", () => undefined).end(input);
  });
}

/**
 * Runs a program with this process's terminal and ends with its status. Signals sent to this process go on to it.
 * @param {string} program
 * @param {string[]} flags
 */
export async function replaceBy(program, flags) {
  const child = spawn(program, flags, { stdio: "inherit" });
  for (const signal of ending) {
    // Ctrl-C in a terminal reaches the child by itself, being sent to the whole group.
    process.on(signal, () => (signal === "SIGINT" && process.stdin.isTTY ? undefined : child.kill(signal)));
  }
  process.exitCode = await new Promise((done, fail) => {
    child.once("error", fail);
    child.once("close", (code, signal) => done(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}

/** How to call the npm that runs this script, or else the one on the PATH. */
export function npm() {
  const script = process.env.npm_execpath;
  return script !== undefined && /npm-cli\.c?js$/.test(script)
    ? { program: process.execPath, flags: [script] }
    : { program: "npm", flags: [] };
}
