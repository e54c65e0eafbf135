/**
 * Owns: the real server as a process of its own, with an upstream repository, for clients that are not ours.
 *
 * 1. It listens on a free port and on a unix socket, keeps everything in one temporary directory,
 *    and uses a database of its own on the run's Postgres.
 * 2. When it is disposed of it has drained and ended with 0, else that is an error; nothing stays behind.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createDatabase, type TestDatabase } from "../support/database.js";
import { until } from "../support/until.js";

/** The entry of the command line, as `dist/` has it. */
export const entry = fileURLToPath(new URL("../../dist/src/main.js", import.meta.url));

export class RealServer implements AsyncDisposable {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  /** `127.0.0.1:PORT`, as gRPC clients want it. */
  readonly target: string;
  readonly socketPath: string;
  /** Absolute path of a repository with one commit on `main`, and a README that says `hello`. */
  readonly upstream: string;
  readonly directory: string;
  readonly #process: ChildProcess;
  readonly #database: TestDatabase;

  private constructor(url: string, directory: string, child: ChildProcess, database: TestDatabase) {
    this.url = url;
    this.target = new URL(url).host;
    this.directory = directory;
    this.socketPath = join(directory, "s.sock");
    this.upstream = join(directory, "demo");
    this.#process = child;
    this.#database = database;
  }

  static async start(): Promise<RealServer> {
    const directory = mkdtempSync(join(tmpdir(), "leasehold-interop-"));
    makeUpstream(join(directory, "demo"));
    const database = await createDatabase();
    const logPath = join(directory, "server.log");
    const args = ["serve", "--data-dir", join(directory, "data"), "--database-url", database.url];
    const listen = ["--listen", "127.0.0.1:0", "--listen", `unix:${join(directory, "s.sock")}`];
    const child = spawn(process.execPath, [entry, ...args, ...listen], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, LEASEHOLD_CONFIG: undefined },
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => writeFileSync(logPath, chunk, { flag: "a" }));
    try {
      const url = await until("the server listens on both", () => {
        if (child.exitCode !== null) throw new Error(`the server ended: ${readFileSync(logPath, "utf8")}`);
        return output.includes("unix:") && /http:\/\/\S+/.exec(output)?.[0];
      });
      return new RealServer(url, directory, child, database);
    } catch (error) {
      child.kill("SIGKILL");
      await database.drop();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null) {
      this.#process.kill("SIGTERM");
      await once(this.#process, "exit");
    }
    await this.#database.drop();
    const log = readFileSync(join(this.directory, "server.log"), { encoding: "utf8", flag: "a+" });
    rmSync(this.directory, { recursive: true, force: true });
    if (this.#process.exitCode !== 0) throw new Error(`the server ended with ${this.#process.exitCode}: ${log}`);
  }
}

/** A repository with one commit. */
export function makeUpstream(directory: string): void {
  mkdirSync(directory);
  writeFileSync(join(directory, "README"), "hello\n");
  const git = (...args: string[]) => execFileSync("git", ["-C", directory, ...args], { stdio: "pipe" });
  git("init", "--quiet", "--initial-branch=main");
  git("add", "README");
  git("-c", "user.name=Demo", "-c", "user.email=demo@example.com", "commit", "--quiet", "--message=First");
}
