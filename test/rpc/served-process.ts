/** Owns a server in a process of its own, compiled for the purpose, so that its death is seen as such. */
import { type ChildProcess, execFile, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

const root = resolve(import.meta.dirname, "../..");

export interface Held {
  readonly watching: number;
  readonly unary: number;
  readonly streams: number;
  readonly rssMb: number;
}

export class ServedProcess {
  readonly port: number;
  readonly socketPath: string;
  /** What it wrote to standard error. */
  stderr = "";
  readonly #child: ChildProcess;
  readonly #directory: string;

  private constructor(child: ChildProcess, directory: string, port: number, socketPath: string) {
    this.#child = child;
    this.#directory = directory;
    this.port = port;
    this.socketPath = socketPath;
    child.stderr?.on("data", (chunk: Buffer) => (this.stderr += chunk.toString()));
  }

  static async start(): Promise<ServedProcess> {
    const directory = await mkdtemp(join(tmpdir(), "leasehold-served-"));
    await symlink(await realpath(join(root, "node_modules")), join(directory, "node_modules"));
    await writeFile(join(directory, "package.json"), '{"type":"module"}');
    const options = {
      extends: join(root, "tsconfig.json"),
      compilerOptions: { rootDir: root, outDir: directory, declaration: false, sourceMap: false },
      include: [],
      files: [join(root, "test/rpc/served.ts")],
    };
    // beside the sources, whose types are found from there
    await writeFile(
      join(directory, "tsconfig.json"),
      JSON.stringify({
        ...options,
        compilerOptions: { ...options.compilerOptions, typeRoots: [join(root, "node_modules/@types")] },
      }),
    );
    await promisify(execFile)(join(root, "node_modules/.bin/tsc"), ["-p", join(directory, "tsconfig.json")]);
    const socketPath = join(directory, "s.sock");
    const child = fork(join(directory, "test/rpc/served.js"), [socketPath], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    const [{ addresses }] = (await once(child, "message")) as [{ addresses: string[] }];
    return new ServedProcess(child, directory, Number(new URL(addresses[0] as string).port), socketPath);
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async held(): Promise<Held> {
    this.#child.send("report");
    const [held] = (await once(this.#child, "message")) as [Held];
    return held;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isAlive) {
      const exit = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await exit;
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}
