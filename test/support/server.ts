/**
 * Owns: the real server as a real process, for tests that kill it.
 *
 * 1. A server is started from `dist/`, in a directory of its own, with nothing of this process's configuration.
 * 2. Whatever a file started is gone after it, an embedded Postgres whose server was killed included, also where one
 *    step of that fails.
 * 3. When a test fails, the last lines of every server's log are printed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach } from "vitest";
import { connectPool, type Sql } from "../../src/postgres/client.js";
import { clusterUser } from "../../src/postgres/embedded/cluster.js";
import { servesCluster } from "../../src/postgres/embedded/process.js";
import { socketDirectory, socketPort } from "../../src/postgres/embedded/socket-path.js";
import { createDatabase } from "./database.js";
import { cleanEnvironment } from "./environment.js";
import { Client } from "./rpc-client.js";
import { until } from "./until.js";

export interface ServerOptions {
  /** `DATABASE_URL`; without it the server starts its embedded Postgres. */
  readonly databaseUrl?: string | undefined;
  /** Made if it is not given. */
  readonly dataDir?: string;
  /** Name of the host; the default is that of the machine. */
  readonly host?: string;
  /** More flags of `leasehold serve`. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Finished {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const main = resolve("dist/src/main.js");
const startLimitMs = 60_000;
const logTail = 60;

export class ServerProcess {
  readonly dataDir: string;
  readonly host: string;
  readonly client: Client;
  readonly #options: ServerOptions;
  #child: ChildProcess | undefined;
  #finished: Promise<Finished> = Promise.reject(new Error("not started"));
  #stdout: readonly string[] = [];
  readonly #stderr: string[] = [];
  #port = 0;

  constructor(options: ServerOptions & { readonly dataDir: string }) {
    this.#options = options;
    this.#finished.catch(() => {});
    this.dataDir = options.dataDir;
    this.host = options.host ?? hostname();
    this.client = new Client(() => this.address);
  }

  get address(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  /** Empty: the embedded one. */
  get databaseUrl(): string {
    return this.#options.databaseUrl ?? "";
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("the server does not run");
    return pid;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** How the process ended. */
  get finished(): Promise<Finished> {
    return this.#finished;
  }

  /** Lines of the log of all its lives. */
  get log(): readonly string[] {
    return this.#stderr;
  }

  /** Starts the process, on the same port as before if it had one, and resolves when it serves. */
  async start(): Promise<this> {
    let ended: Finished | undefined;
    void this.spawn().then((finished) => (ended = finished));
    const line = await until("the server serves", () => this.#stdout[0] ?? (ended && "nothing"), startLimitMs);
    const port = /^leasehold listening on http:\/\/127\.0\.0\.1:(\d+)$/.exec(line)?.[1];
    if (!port) throw new Error(`the server printed ${line} and ended with ${ended?.status}:\n${ended?.stderr}`);
    this.#port = Number(port);
    return this;
  }

  /** Starts the process; resolves when it has ended. */
  spawn(): Promise<Finished> {
    const { databaseUrl, host, flags = [], env = {} } = this.#options;
    const args = ["serve", "--data-dir", this.dataDir, "--log-format", "json"];
    if (!flags.includes("--listen")) args.push("--listen", `127.0.0.1:${this.#port}`);
    if (host !== undefined) args.push("--host", host);
    // how full this machine's disk is decides no test
    if (!flags.includes("--disk-low")) args.push("--disk-low", "0", "--disk-min-free", "0");
    const child = spawn(process.execPath, [main, ...args, ...flags], {
      cwd: tmpdir(),
      env: cleanEnvironment({ ...(databaseUrl && { DATABASE_URL: databaseUrl }), ...env }),
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    const stdout: string[] = [];
    this.#stdout = stdout;
    createInterface({ input: child.stdout }).on("line", (line) => stdout.push(line));
    const from = this.#stderr.length;
    createInterface({ input: child.stderr }).on("line", (line) => this.#stderr.push(line));
    this.#finished = once(child, "close").then(([status, signal]) => {
      return { status, signal, stdout: stdout.join("\n"), stderr: this.#stderr.slice(from).join("\n") };
    });
    return this.#finished;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Ends it without a chance to tidy up. */
  async kill9(): Promise<void> {
    if (!this.running) return;
    this.signal("SIGKILL");
    await this.#finished;
  }

  /** Ends it in order; fails unless it ends with 0. */
  async stop(): Promise<void> {
    this.signal("SIGTERM");
    const { status, signal, stderr } = await this.#finished;
    if (status !== 0) throw new Error(`the server ended with ${status ?? signal}:\n${stderr.slice(-4_000)}`);
  }

  /** What the log ends with, for a failed test. */
  tail(): string {
    // tests poll by GetWorkspace
    const lines = this.#stderr.filter((line) => !line.includes("WorkspaceService/GetWorkspace"));
    return lines.slice(-logTail).join("\n");
  }
}

export interface Servers {
  /** An empty directory that is gone after the file. */
  directory(): Promise<string>;
  /** The URL of a database of its own on the run's Postgres, gone after the file. */
  database(): Promise<string>;
  /** For looking into a server's database and breaking things in it, past the server. */
  sql(databaseUrl: string, connections?: number): Sql;
  /** A server that serves; on a database of its own unless it is told otherwise. */
  start(options?: ServerOptions): Promise<ServerProcess>;
  /** One that is not started yet. */
  make(options?: ServerOptions): Promise<ServerProcess>;
  /** Runs at the end of the file, before servers are ended. */
  atEnd(step: () => unknown): void;
}

/** For the whole file: call it at the top level. */
export function useServers(): Servers {
  const servers: ServerProcess[] = [];
  const steps: (() => unknown)[] = [];
  const directories: string[] = [];
  const connections: Sql[] = [];
  const databases: { drop(): Promise<void> }[] = [];
  afterEach(({ task }) => {
    if (task.result?.state !== "fail") return;
    for (const server of servers) process.stderr.write(`--- log of ${server.host}\n${server.tail()}\n`);
  });
  afterAll(async () => {
    const faults: unknown[] = [];
    const attempt = async (step: () => unknown) => {
      try {
        await step();
      } catch (error) {
        faults.push(error);
      }
    };
    for (const step of steps) await attempt(step);
    for (const server of servers) {
      await attempt(() => server.client.close());
      await attempt(() => server.kill9());
      await attempt(() => killPostgres(server.dataDir));
    }
    for (const sql of connections) await attempt(() => sql.end({ timeout: 1 }));
    for (const database of databases) await attempt(() => database.drop());
    for (const directory of directories) {
      await attempt(() => rm(directory, { recursive: true, force: true, maxRetries: 20 }));
    }
    if (faults.length > 0) throw new AggregateError(faults, "not all of what the file started is gone");
  });
  const directory = async () => {
    const path = await realpath(await mkdtemp(join(tmpdir(), "leasehold-e2e-")));
    directories.push(path);
    return path;
  };
  const database = async () => {
    const made = await createDatabase();
    databases.push(made);
    return made.url;
  };
  const make = async (options: ServerOptions = {}) => {
    const dataDir = options.dataDir ?? join(await directory(), "data");
    const databaseUrl = "databaseUrl" in options ? options.databaseUrl : await database();
    const server = new ServerProcess({ ...options, dataDir, databaseUrl });
    servers.push(server);
    return server;
  };
  return {
    directory,
    database,
    sql: (url, max = 2) => {
      const sql = connectPool({ url }, { max, name: "test" });
      connections.push(sql);
      return sql;
    },
    make,
    start: async (options) => (await make(options)).start(),
    atEnd: (step) => void steps.push(step),
  };
}

/** The process id of the embedded Postgres that serves the data directory now. */
export function postgresPid(dataDir: string): number | undefined {
  const cluster = join(dataDir, "postgres", "pg18");
  try {
    const pid = Number.parseInt(readFileSync(join(cluster, "postmaster.pid"), "utf8"), 10);
    return servesCluster(pid, cluster) ? pid : undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** How to reach the embedded Postgres of a data directory from beside its server. */
export async function embeddedUrl(dataDir: string): Promise<string> {
  const host = await socketDirectory(join(dataDir, "postgres", "pg18"));
  return `postgres://${clusterUser}@${encodeURIComponent(host)}:${socketPort}/${clusterUser}`;
}

/** Ends the embedded Postgres of a data directory without a chance to tidy up. Answers its process id. */
export function killPostgres(dataDir: string): number | undefined {
  const pid = postgresPid(dataDir);
  if (pid !== undefined) process.kill(pid, "SIGKILL");
  return pid;
}
