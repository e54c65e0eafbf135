/**
 * Owns `leasehold run`: acquire, run a command in the workspace, heartbeat, release.
 *
 * Invariants:
 * 1. Whatever ends it but SIGKILL, the lease is released, unless it is lost.
 * 2. The command's own status is our status; what fails besides has a status of `runExit`.
 * 3. A lost lease ends the command. Nothing is started once it is lost, or once a signal has come.
 */
import { statSync } from "node:fs";
import type { Command } from "commander";
import type { Client, Lease } from "../client/index.js";
import { acquireOptions, type LeaseOptions, withLease } from "./acquire-options.js";
import { withCloneProgress } from "./clone-progress.js";
import { CommandProcess, type Forwarded, forwarded, type Outcome, signalNumber } from "./command-process.js";
import { type ConnectionOptions, withClient, withConnection } from "./connection.js";
import { dependencyVariables } from "./dependency-options.js";
import { parseDuration } from "./duration.js";
import { CommandError, runExit } from "./exit-codes.js";
import { defaultHolder } from "./holder.js";
import { notice } from "./output.js";

interface RunFlags extends LeaseOptions, ConnectionOptions {
  readonly workspaceEnv?: string;
  readonly park?: boolean;
  readonly grace: number;
  readonly install?: string;
}

/** How long a command that lost its lease has between SIGTERM and SIGKILL, in milliseconds. */
const killGraceMs = 5_000;
const releaseTimeoutMs = 15_000;

/** Variables that would make git in the workspace work elsewhere, the token of somebody else's lease, and what it had. */
const hidden = [
  ...["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"],
  ...["GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "LEASEHOLD_LEASE_TOKEN"],
  ...["LEASEHOLD_FINGERPRINT", "LEASEHOLD_DEPENDENCIES", "LEASEHOLD_DEPENDENCY_CACHE"],
];

export function addRun(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("run")
    .description("lease a workspace, run a command in it, and give it back; exits with the command's status")
    .usage("[options] -- <command> [arguments...]")
    .passThroughOptions();
  withConnection(withLease(command))
    .argument("<command...>", "what to run in the workspace")
    .option("--workspace-env <name>", "one more variable that holds the workspace's path", variableName)
    .option(
      "--grace <duration>",
      "how long past its deadline a lease that cannot be renewed, since no server answers, still counts as held",
      parseDuration,
      0,
    )
    .option("--park", "leave the files as they are for the next use of --binding, instead of cleaning them")
    .option(
      "--install <command>",
      "what a shell runs first unless the dependencies are READY; they are kept if it succeeds; needs --keep-path",
    )
    .action(async (words: string[], options: RunFlags) => {
      if (options.park && options.binding === undefined) {
        throw new CommandError("--park needs --binding", runExit.failed);
      }
      exit(await withClient(options, (client) => run(client, words, options)));
    });
}

async function run(client: Client, words: readonly string[], options: RunFlags): Promise<number> {
  const [command = "", ...args] = words;
  if (options.install !== undefined && !options.keepPath?.length) {
    throw new CommandError(
      "--install needs --keep-path: without one, nothing of it would be there next time",
      runExit.failed,
    );
  }
  const signals = new SignalInbox();
  try {
    const lease = await acquire(client, options, signals);
    if (lease === undefined) return runExit.signal + signalNumber(signals.first as Forwarded);
    let status: number = runExit.failed;
    try {
      requireLocal(lease);
      const environment = environmentOf(lease, options.workspaceEnv);
      status = await install(lease, signals, environment, options.install);
      if (status === 0) status = await runIn(lease, signals, environment, command, args);
    } finally {
      // From here on signals are taken, and change nothing: giving back is short, and must be done.
      signals.deliver(() => undefined);
      if (!(await giveBack(lease, options.park ? "PARK" : "CLEAN"))) status = runExit.leaseLost;
    }
    return status;
  } finally {
    signals.close();
  }
}

/** Runs what installs the dependencies if they are not there, and has them kept. Answers 0 if the command may run. */
async function install(
  lease: Lease,
  signals: SignalInbox,
  environment: NodeJS.ProcessEnv,
  line: string | undefined,
): Promise<number> {
  if (line === undefined || lease.dependencies?.state === "READY") return 0;
  const status = await runIn(lease, signals, environment, "/bin/sh", ["-c", line]);
  if (status !== 0) return status;
  if (signals.first !== undefined) return runExit.signal + signalNumber(signals.first);
  try {
    await lease.heartbeat({ dependenciesInstalled: true });
  } catch (error) {
    if (!lease.signal.aborted) notice(`the dependencies will not be kept: ${(error as Error).message}`);
  }
  return 0;
}

/** Answers the command's status, or why it was not started. */
async function runIn(
  lease: Lease,
  signals: SignalInbox,
  environment: NodeJS.ProcessEnv,
  command: string,
  args: readonly string[],
): Promise<number> {
  // None may come between these looks and the process that signals and losses are passed on to: nothing here waits.
  if (signals.first !== undefined) return runExit.signal + signalNumber(signals.first);
  if (lease.signal.aborted) {
    tellLoss(lease, "the command is not started");
    return runExit.leaseLost;
  }
  const child = new CommandProcess({ command, args, directory: lease.path, environment });
  signals.deliver((signal) => child.forward(signal));
  const killed = () => void stop(child, lease);
  lease.signal.addEventListener("abort", killed);
  const outcome = await child.outcome;
  lease.signal.removeEventListener("abort", killed);
  // its process id may be another's by now
  signals.deliver(() => undefined);
  return statusOf(outcome, command);
}

/** The lease; undefined if a signal came before there was one. */
async function acquire(client: Client, options: RunFlags, signals: SignalInbox): Promise<Lease | undefined> {
  const interrupted = new AbortController();
  signals.deliver(() => interrupted.abort());
  try {
    return await withCloneProgress(client, options.repository, () =>
      client.acquire({
        ...acquireOptions(options, defaultHolder()),
        graceMs: options.grace,
        signal: interrupted.signal,
      }),
    );
  } catch (error) {
    if (interrupted.signal.aborted) return undefined;
    throw error;
  }
}

/** The command runs here, so the directory must be here: a server on another host leases directories of its own. */
function requireLocal(lease: Lease): void {
  try {
    if (statSync(lease.path).isDirectory()) return;
  } catch {
    // Said below.
  }
  throw new CommandError(
    `the lease is on host ${lease.host}, but its workspace ${lease.path} is not a directory on this machine: ` +
      "`run` needs a server on the machine that it runs on",
    runExit.failed,
  );
}

function environmentOf(lease: Lease, workspaceEnv: string | undefined): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !hidden.includes(name));
  return {
    ...Object.fromEntries(inherited),
    PWD: lease.path,
    LEASEHOLD_WORKSPACE_DIR: lease.path,
    LEASEHOLD_LEASE_ID: lease.leaseId,
    LEASEHOLD_FENCE: String(lease.fence),
    LEASEHOLD_COMMIT: lease.commit,
    ...dependencyVariables(lease.response),
    ...(workspaceEnv !== undefined && { [workspaceEnv]: lease.path }),
  };
}

async function stop(child: CommandProcess, lease: Lease): Promise<void> {
  tellLoss(lease, "stopping the command");
  await child.kill(killGraceMs);
}

function tellLoss(lease: Lease, consequence: string): void {
  const { message, endReason } = lease.signal.reason;
  const why = endReason === "UNSPECIFIED" ? message : `it ended as ${endReason}`;
  notice(`lease ${lease.leaseId} is lost: ${why}; ${consequence}`);
}

function statusOf(outcome: Outcome, command: string): number {
  switch (outcome.type) {
    case "exited":
      return outcome.status;
    case "signalled":
      return runExit.signal + signalNumber(outcome.signal);
    case "unstartable": {
      const missing = outcome.error.code === "ENOENT";
      notice(missing ? `${command}: command not found` : `${command}: cannot be run: ${outcome.error.message}`);
      return missing ? runExit.noCommand : runExit.cannotRun;
    }
  }
}

/** Whether the lease was ours to the end. */
async function giveBack(lease: Lease, disposition: "CLEAN" | "PARK"): Promise<boolean> {
  const { LeaseLostError } = await import("../client/index.js");
  try {
    await lease.release({ disposition, timeoutMs: lease.signal.aborted ? 2_000 : releaseTimeoutMs });
  } catch (error) {
    if (error instanceof LeaseLostError) {
      if (!lease.signal.aborted) notice(`lease ${lease.leaseId} was lost before the command ended: ${error.message}`);
      return false;
    }
    if (!lease.signal.aborted) {
      notice(
        `workspace not given back: ${(error as Error).message}; it comes back when lease ${lease.leaseId} expires`,
      );
    }
  }
  return !lease.signal.aborted;
}

/** Owns the signals that this process is sent while it runs. */
class SignalInbox {
  /** The first that came. */
  first: Forwarded | undefined;
  #receive: (signal: Forwarded) => void = () => undefined;
  readonly #listeners = forwarded.map((signal) => {
    const listener = () => {
      this.first ??= signal;
      this.#receive(signal);
    };
    process.on(signal, listener);
    return [signal, listener] as const;
  });

  deliver(receive: (signal: Forwarded) => void): void {
    this.#receive = receive;
  }

  close(): void {
    for (const [signal, listener] of this.#listeners) process.off(signal, listener);
  }
}

function variableName(name: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return name;
  throw new CommandError(`--workspace-env: ${JSON.stringify(name)} is no name of a variable`, runExit.failed);
}
