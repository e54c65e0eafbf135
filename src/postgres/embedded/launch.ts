/**
 * Owns: the Postgres process: its settings, its log file, and why it ended.
 *
 * 1. It is in a process group of its own: Ctrl-C in a terminal reaches us, who drain first, and not Postgres.
 * 2. It writes to a file, so nothing of it depends on the process that started it.
 * 3. The log keeps no values of rows and stays bounded.
 */
import { spawn } from "node:child_process";
import { closeSync, copyFileSync, openSync, readFileSync, statSync, truncateSync } from "node:fs";
import type { Account } from "./account.js";
import type { Binaries } from "./binaries.js";
import { addressAs, postgresEnvironment } from "./cluster.js";
import { socketPort } from "./socket-path.js";

/** A Postgres that this process spawned. */
export interface Launched {
  readonly pid: number | undefined;
  /** Undefined while it runs, then Postgres's own words. */
  ended(): { readonly reason: string; readonly anotherRuns: boolean } | undefined;
  readonly exit: Promise<void>;
}

const logLimitBytes = 8 * 1024 * 1024;

/** Starts Postgres in the background; it may still end at once, as when another one has the data. */
export function launch(options: {
  readonly binaries: Binaries;
  readonly account: Account | undefined;
  readonly clusterDir: string;
  readonly logFile: string;
  readonly fsync: boolean;
}): Launched {
  const { account, binaries, clusterDir, logFile } = options;
  const log = openSync(logFile, "a", 0o600);
  try {
    const child = spawn(binaries.postgres, commandLine(addressAs(account, clusterDir), options.fsync), {
      ...account,
      cwd: clusterDir,
      env: postgresEnvironment,
      stdio: ["ignore", log, log],
      detached: true,
    });
    child.unref();
    let failure: string | undefined;
    const exit = new Promise<void>((resolve) => {
      child.once("error", (error) => {
        failure = error.message;
        resolve();
      });
      child.once("exit", (code, signal) => {
        failure ??= `exit ${code ?? signal}`;
        resolve();
      });
    });
    return {
      pid: child.pid,
      exit,
      ended: () => (failure === undefined ? undefined : explain(logFile, child.pid, failure)),
    };
  } finally {
    closeSync(log);
  }
}

function commandLine(address: string, fsync: boolean): string[] {
  const settings = {
    listen_addresses: "",
    unix_socket_directories: ".", // the working directory, so the data directory
    unix_socket_permissions: "0700",
    cluster_name: "leasehold",
    shared_buffers: "64MB",
    max_wal_size: "256MB",
    max_connections: "200",
    log_checkpoints: "off",
    log_error_verbosity: "terse", // DETAIL would quote keys, request ids among them
    ...(fsync ? {} : { fsync: "off", synchronous_commit: "off", full_page_writes: "off" }),
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  return ["-D", address, "-p", String(socketPort), ...flags];
}

/** Keeps the log and one older part of it. Postgres appends, so cutting it to nothing under it is safe. */
export function trimLog(logFile: string): void {
  try {
    if (statSync(logFile).size > logLimitBytes) {
      copyFileSync(logFile, `${logFile}.1`);
      truncateSync(logFile);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
      throw error;
    }
  }
}

function explain(logFile: string, pid: number | undefined, failure: string): { reason: string; anotherRuns: boolean } {
  const own = readFileSync(logFile, "utf8")
    .split("\n")
    .filter((line) => line.includes(` [${pid}] `) && /(FATAL|PANIC|HINT):/.test(line))
    .map((line) => line.replace(/^.*?(FATAL|PANIC|HINT): +/, ""))
    .slice(-2);
  const reason = own.length > 0 ? own.join(" ") : failure;
  return { reason, anotherRuns: /lock file .* already exists|pre-existing shared memory|is empty/.test(reason) };
}
