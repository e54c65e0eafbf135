/**
 * Owns the command line as a whole: which commands there are, and what becomes of their errors.
 *
 * Invariants:
 * 1. Every command ends with an exit code of `exit-codes.ts`.
 * 2. Nothing heavy is loaded before the command that needs it runs.
 */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { addAcquire } from "./acquire.js";
import { addDoctor } from "./doctor.js";
import { CommandError, exitCodeOf, exitCodes, runExit, runExitCodeOf } from "./exit-codes.js";
import { addHeartbeat } from "./heartbeat.js";
import { addHost } from "./host.js";
import { addListActive } from "./list-active.js";
import { notice } from "./output.js";
import { addReclaim } from "./reclaim.js";
import { addRelease } from "./release.js";
import { addRepository } from "./repository.js";
import { addReset } from "./reset.js";
import { addRun } from "./run.js";
import { addSalvage } from "./salvage.js";
import { addServe } from "./serve.js";
import { addSession } from "./session.js";
import { addSweep } from "./sweep.js";
import { addToken } from "./token.js";
import { addUsage } from "./usage.js";
import { addWatch } from "./watch.js";

/** Runs one command line; answers its exit code. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // Whoever read has seen enough.
    process.exit(error.code === "EPIPE" ? exitCodes.ok : exitCodes.internal);
  });
  // Nobody hears what is said; that is no reason to leave a lease behind.
  process.stderr.on("error", () => undefined);
  let exitCode: number = exitCodes.ok;
  const program = await buildProgram(argv, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync([...argv]);
    return exitCode;
  } catch (error) {
    return await failed(error, argv[2] === "run");
  }
}

async function buildProgram(argv: readonly string[], exit: (code: number) => void): Promise<Command> {
  const program = new Command("leasehold")
    .description("Leases clean git workspaces.")
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .showHelpAfterError("(--help tells more)")
    .enablePositionalOptions()
    .exitOverride();
  await addServe(program, argv);
  addRun(program, exit);
  addAcquire(program);
  addHeartbeat(program);
  addRelease(program);
  addListActive(program);
  addReclaim(program, exit);
  addReset(program, exit);
  addWatch(program);
  addSalvage(program);
  addSession(program);
  addSweep(program);
  addRepository(program);
  addHost(program);
  addUsage(program);
  addToken(program);
  addDoctor(program, exit);
  return program;
}

async function failed(error: unknown, isRun: boolean): Promise<number> {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.ok;
    return isRun ? runExit.failed : exitCodes.usage;
  }
  if (error instanceof CommandError) {
    notice(error.message);
    return isRun && error.exitCode < runExit.leaseLost ? runExit.failed : error.exitCode;
  }
  const { LeaseholdError } = await import("../client/index.js");
  if (error instanceof LeaseholdError) {
    const { describe } = await import("./connection.js");
    notice(describe(error));
    return isRun ? runExitCodeOf(error) : exitCodeOf(error);
  }
  notice(error instanceof Error ? (error.stack ?? error.message) : String(error));
  return isRun ? runExit.failed : exitCodes.internal;
}

function version(): string {
  const text = readFileSync(new URL("../../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
