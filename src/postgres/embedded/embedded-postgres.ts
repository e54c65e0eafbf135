/**
 * Owns: a real Postgres for servers that were given none: started, adopted, watched, stopped.
 *
 * 1. Any number of processes may start on one data directory at once: one of them starts Postgres, the others use it.
 * 2. Postgres outlives a process that is killed; the next start adopts it.
 * 3. While a process uses it, a Postgres that died is started again within a second, by whoever notices first.
 * 4. It listens on a unix socket only, in a directory that no other user can enter.
 * 5. It is stopped only when nobody else is connected to it.
 */
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Account, chooseAccount } from "./account.js";
import { type Binaries, locatePrograms, runnableAs } from "./binaries.js";
import { clusterUser, postmasterPid, prepareCluster, removeStalePid } from "./cluster.js";
import { type Launched, launch, trimLog } from "./launch.js";
import { countClients, type EmbeddedConnection, probe } from "./probe.js";
import { isRunning, servesCluster } from "./process.js";
import { removeSocketLink, socketDirectory, socketPort } from "./socket-path.js";

export type { EmbeddedConnection } from "./probe.js";

/** A Postgres that this process uses. */
export interface EmbeddedPostgres {
  readonly connection: EmbeddedConnection;
  /** As `18.4`. */
  readonly version: string;
  /** Returns when it answers; starts it if it has died. */
  ensure(): Promise<void>;
  /** Stops watching, and stops Postgres unless somebody is still connected. Close your own pools first. Idempotent. */
  stop(): Promise<void>;
}

/** What to start. */
export interface EmbeddedPostgresOptions {
  /** `<data>/postgres`; made with mode 0700 if it is not there. */
  readonly dataDir: string;
  readonly log: (fields: object, message: string) => void;
  /** False: a crash of the machine may lose data. For tests. Default true. */
  readonly fsync?: boolean;
}

/** A start includes recovery from a crash, which max_wal_size bounds. */
const startLimitMs = 120_000;
const startAttempts = 3;
const stopLimitMs = 10_000;
/** How long the connections of our own closed pools may take to vanish from Postgres's list. */
const clientsGoneMs = 500;
const watchEveryMs = 300;
const trimEveryMs = 3_600_000;
const retryAfterMs = 1_000;

/** Starts or adopts the Postgres of `dataDir` and watches it; throws one clear line where it cannot. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const dataDir = resolve(options.dataDir);
  const note = (message: string) => options.log({ data_dir: dataDir }, message);
  const fsync = options.fsync ?? true;
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const programs = await locatePrograms();
  const clusterDir = join(dataDir, `pg${programs.major}`);
  const account = await chooseAccount(clusterDir);
  const binaries = await runnableAs(account, programs, note);
  await prepareCluster(clusterDir, { binaries, account, fsync, log: note });
  const host = await socketDirectory(clusterDir);
  const connection = { host, port: socketPort, user: clusterUser, database: clusterUser };
  const logFile = join(dataDir, "postgres.log");
  const supervisor = new Supervisor({ account, binaries, clusterDir, connection, fsync, logFile, note });
  await supervisor.ensure();
  supervisor.watch();
  return supervisor;
}

interface Setting {
  readonly account: Account | undefined;
  readonly binaries: Binaries;
  readonly clusterDir: string;
  readonly connection: EmbeddedConnection;
  readonly fsync: boolean;
  readonly logFile: string;
  readonly note: (message: string) => void;
}

class Supervisor implements EmbeddedPostgres {
  readonly connection: EmbeddedConnection;
  readonly version: string;
  readonly #setting: Setting;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pid: number | undefined;
  #trimAt = Date.now() + trimEveryMs;
  #retryAt = 0;

  constructor(setting: Setting) {
    this.#setting = setting;
    this.connection = setting.connection;
    this.version = setting.binaries.version;
  }

  ensure(): Promise<void> {
    if (this.#stopping !== undefined) {
      return Promise.reject(new Error("the embedded Postgres was stopped by this process"));
    }
    this.#starting ??= this.#adoptOrStart().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  watch(): void {
    this.#timer = setInterval(() => this.#look(), watchEveryMs);
    this.#timer.unref();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #adoptOrStart(): Promise<void> {
    const { clusterDir, connection, logFile, note } = this.#setting;
    const deadline = Date.now() + startLimitMs;
    let launched: Launched | undefined;
    let failures = 0;
    await socketDirectory(clusterDir);
    for (;;) {
      if (this.#stopping !== undefined) {
        throw new Error("the embedded Postgres was stopped by this process");
      }
      const presence = await probe(connection);
      if (presence === "ready") {
        this.#pid = await postmasterPid(clusterDir);
        note(this.#pid === launched?.pid ? "Postgres started" : "using the Postgres that already runs");
        return;
      }
      const end = launched?.ended();
      if (end !== undefined) {
        launched = undefined;
        failures += end.anotherRuns ? 0 : 1;
        if (failures >= startAttempts || Date.now() > deadline) {
          throw new Error(`the embedded Postgres does not start: ${end.reason} (log: ${logFile})`);
        }
      } else if (Date.now() > deadline) {
        throw new Error(`the embedded Postgres was not ready within ${startLimitMs / 1000} s (log: ${logFile})`);
      } else if (presence === "absent" && launched === undefined) {
        if (await removeStalePid(clusterDir)) {
          note("removed the lock file of a Postgres that no longer runs");
        }
        trimLog(logFile);
        launched = launch(this.#setting);
        void launched.exit.then(() => this.#look());
      }
      await delay(end === undefined ? 15 : 50);
    }
  }

  #look(): void {
    const now = Date.now();
    if (this.#timer === undefined || this.#stopping !== undefined || this.#starting !== undefined) {
      return;
    }
    if (this.#pid !== undefined && isRunning(this.#pid)) {
      if (now >= this.#trimAt) {
        this.#trimAt = now + trimEveryMs;
        trimLog(this.#setting.logFile);
        // Cleaners of temporary directories remove what is old.
        socketDirectory(this.#setting.clusterDir).catch((error: Error) => this.#setting.note(error.message));
      }
      return;
    }
    if (now >= this.#retryAt) {
      this.#retryAt = now + retryAfterMs;
      this.#setting.note("Postgres is gone: starting it again");
      this.ensure().catch((error: Error) => this.#setting.note(error.message));
    }
  }

  async #stop(): Promise<void> {
    const { clusterDir, connection, note } = this.#setting;
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#starting?.catch(() => undefined);
    const deadline = Date.now() + clientsGoneMs;
    let clients = await countClients(connection);
    while (clients !== undefined && clients > 0 && Date.now() < deadline) {
      await delay(20);
      clients = await countClients(connection);
    }
    if (clients !== undefined && clients > 0) {
      note(`Postgres is left running: ${clients} other connections use it`);
      return;
    }
    const pid = await postmasterPid(clusterDir);
    if (pid === undefined || !servesCluster(pid, clusterDir)) {
      return;
    }
    for (const [signal, limitMs] of [
      ["SIGINT", stopLimitMs],
      ["SIGQUIT", stopLimitMs / 5],
    ] as const) {
      process.kill(pid, signal);
      if (await ended(pid, limitMs)) {
        await removeSocketLink(clusterDir);
        note("Postgres stopped");
        return;
      }
    }
    note(`Postgres (process ${pid}) did not stop within ${stopLimitMs / 1000} s`);
  }
}

async function ended(pid: number, limitMs: number): Promise<boolean> {
  const deadline = Date.now() + limitMs;
  while (isRunning(pid)) {
    if (Date.now() > deadline) {
      return false;
    }
    await delay(5);
  }
  return true;
}
