/**
 * Owns: what the tests of the embedded Postgres share: data directories, and processes that use them.
 *
 * 1. Whatever a test left running on its data directory is ended before the directory is removed.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import postgres from "postgres";
import { afterAll, onTestFinished } from "vitest";
import { type EmbeddedConnection, startEmbeddedPostgres } from "../../src/postgres/embedded/embedded-postgres.js";
import { isRunning } from "../../src/postgres/embedded/process.js";
import { cleanEnvironment } from "../support/environment.js";
import { until } from "../support/until.js";

const builtModule = resolve("dist/src/postgres/embedded/embedded-postgres.js");

/** A fresh directory; the data directory of Postgres goes below it. */
export async function makeDirectory(): Promise<string> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), "leasehold-pg-")));
  onTestFinished(async () => {
    await killPostgres(join(directory, "postgres"));
    await rm(directory, { recursive: true, force: true });
  });
  return directory;
}

/** A data directory that was started and stopped once: what initdb takes a second for is copied. */
export async function makeDataDirectory(directory?: string): Promise<string> {
  const dataDir = join(directory ?? (await makeDirectory()), "postgres");
  await mkdir(dirname(dataDir), { recursive: true });
  execFileSync("cp", ["-a", await pristine(), dataDir]);
  return dataDir;
}

let made: Promise<string> | undefined;

function pristine(): Promise<string> {
  made ??= (async () => {
    const dataDir = join(await mkdtemp(join(tmpdir(), "leasehold-pg-pristine-")), "postgres");
    const embedded = await startEmbeddedPostgres({ dataDir, log: () => undefined, fsync: false });
    await embedded.stop();
    return dataDir;
  })();
  return made;
}

afterAll(async () => {
  if (made !== undefined) {
    await rm(dirname(await made), { recursive: true, force: true });
  }
});

/** Another process that uses the embedded Postgres. */
export interface User {
  readonly process: ChildProcess;
  readonly messages: string[];
  /** Its connection, or its one line of failure as a rejection. */
  readonly ready: Promise<EmbeddedConnection>;
  /** Resolves when this message was logged. */
  logged(message: string): Promise<void>;
  /** Stops politely and waits for the end. */
  stop(): Promise<void>;
}

/** Where the built module is if not in this checkout, and as whom to run. */
export interface UserOptions {
  readonly module?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly env?: Record<string, string>;
}

/** Starts another process on `dataDir`, as another user where ids are given. */
export function startUser(dataDir: string, options: UserOptions = {}): User {
  const { env, module, ...ids } = options;
  // The program goes in by the command line, as another user may not be able to read this checkout.
  const program = readFileSync(resolve("test/embedded/start.mjs"), "utf8");
  const flags = ["--input-type=module", "--eval", program, module ?? builtModule, dataDir];
  const child = spawn(process.execPath, flags, {
    ...ids,
    cwd: "/",
    env: cleanEnvironment(env),
    stdio: ["pipe", "pipe", "inherit"],
  });
  const messages: string[] = [];
  const waiting: { message: string; done: () => void }[] = [];
  const ended = new Promise<void>((done) => child.once("close", () => done()));
  const ready = new Promise<EmbeddedConnection>((accept, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = JSON.parse(line) as { ready?: EmbeddedConnection; error?: string; log?: string };
      if (event.ready !== undefined) {
        accept(event.ready);
      }
      if (event.error !== undefined) {
        reject(new Error(event.error));
      }
      messages.push(event.log ?? "");
      for (const { message, done } of waiting) {
        if (event.log?.includes(message)) {
          done();
        }
      }
    });
    void ended.then(() => reject(new Error("it ended early")));
  });
  ready.catch(() => undefined);
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return {
    process: child,
    messages,
    ready,
    logged: (message) => new Promise((done) => waiting.push({ message, done })),
    stop: async () => {
      child.stdin.write("stop\n");
      await ended;
    },
  };
}

/** One question on a connection of its own. */
export async function ask<T>(
  connection: EmbeddedConnection,
  question: (sql: postgres.Sql) => PromiseLike<T>,
): Promise<T> {
  const sql = postgres({ ...connection, max: 1, onnotice: () => undefined });
  try {
    return await question(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** The process id of the Postgres that has the data directory, dead or alive. */
export async function postgresPid(dataDir: string): Promise<number | undefined> {
  const text = await readFile(join(dataDir, "pg18", "postmaster.pid"), "utf8").catch(() => "");
  return Number.parseInt(text, 10) || undefined;
}

/** Ends it without any chance to tidy up, and waits until it is gone. */
export async function killPostgres(dataDir: string): Promise<void> {
  const pid = await postgresPid(dataDir);
  if (pid !== undefined && isRunning(pid)) {
    process.kill(pid, "SIGKILL");
    await until("Postgres is gone", () => !isRunning(pid));
  }
}
