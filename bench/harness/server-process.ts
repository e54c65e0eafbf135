/**
 * Owns the server under test: the built program, with its own data directory and its embedded Postgres.
 *
 * Invariant: it ends with `stop`, by its pid, and its Postgres with it; a benchmark that is killed leaves both running.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../../src/main.js", import.meta.url));
const startLimitMs = 120_000;

export class ServerProcess {
  readonly dataDir: string;
  /** HOST:PORT */
  readonly address: string;
  readonly #child: ChildProcess;

  private constructor(dataDir: string, address: string, child: ChildProcess) {
    this.dataDir = dataDir;
    this.address = address;
    this.#child = child;
  }

  static async start(dataDir: string): Promise<ServerProcess> {
    // the environment of whoever runs the benchmark must not configure the server
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(LEASEHOLD_|DATABASE_|GIT_|PG)/.test(name)),
    );
    // nor how full its disk is
    const disk = ["--disk-low", "0", "--disk-min-free", "0"];
    const args = [program, "serve", "--data-dir", dataDir, "--listen", "127.0.0.1:0", ...disk];
    const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    const logFile = `${dataDir}.log`;
    child.stderr?.pipe(createWriteStream(logFile));
    try {
      return new ServerProcess(dataDir, await addressOf(child), child);
    } catch (error) {
      child.kill("SIGKILL");
      const log = await readFile(logFile, "utf8").catch(() => "");
      throw new Error(`the server did not start: ${log.slice(-2_000)}`, { cause: error });
    }
  }

  /** Where mirrors are made. */
  mirror(repository: string): string {
    return join(this.dataDir, "mirrors", `${repository}.git`);
  }

  get trash(): string {
    return join(this.dataDir, "trash");
  }

  /** What the server warned of, newest last. */
  async warnings(): Promise<readonly string[]> {
    const log = await readFile(`${this.dataDir}.log`, "utf8").catch(() => "");
    return log.split("\n").filter((line) => /"level":"(warn|error|fatal)"/.test(line));
  }

  /** Of the server's own process; its workers and its Postgres are others. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async stop(): Promise<void> {
    if (!this.isRunning) return;
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 30_000);
    await gone;
    clearTimeout(timer);
  }
}

/** The address in the one line that the server prints when it serves. */
function addressOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("it printed no address")), startLimitMs);
    child.once("exit", (code) => reject(new Error(`it ended with ${code}`)));
    if (!child.stdout) return reject(new Error("it has no output"));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const address = /listening on http:\/\/(\S+)/.exec(line)?.[1];
      if (!address) return;
      clearTimeout(timer);
      resolve(address);
    });
  });
}
