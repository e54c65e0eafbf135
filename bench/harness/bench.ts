/**
 * Owns what the rows share: a directory, one server, the upstreams. Each is made when a row first needs it.
 *
 * Invariants:
 * 1. `close` ends every process that was started and removes every file that was made.
 * 2. A row that fails does not fail those after it: what could not be made is tried anew, what a row opened for itself is
 *    closed with it, and a server that has died is replaced.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Leaseholder } from "./leaseholder.js";
import { ServerProcess } from "./server-process.js";
import type { Sizes } from "./sizes.js";
import { Upstream } from "./upstream.js";

export class Bench {
  readonly sizes: Sizes;
  /** On the file system that everything is measured on. */
  readonly directory: string;
  readonly #say: (text: string) => void;
  readonly #upstreams = new Map<string, Promise<Upstream>>();
  readonly #registered = new Map<string, Promise<void>>();
  readonly #closers: (() => unknown)[] = [];
  /** Of the row that runs. */
  readonly #rowClosers: (() => unknown)[] = [];
  #server: Promise<ServerProcess> | undefined;
  #servers = 0;
  #leaseholder: Promise<Leaseholder> | undefined;

  private constructor(sizes: Sizes, directory: string, say: (text: string) => void) {
    this.sizes = sizes;
    this.directory = directory;
    this.#say = say;
  }

  /** `say` is told what takes time. */
  static async open(sizes: Sizes, say: (text: string) => void): Promise<Bench> {
    return new Bench(sizes, await mkdtemp(join(tmpdir(), "leasehold-bench-")), say);
  }

  say(text: string): void {
    this.#say(text);
  }

  server(): Promise<ServerProcess> {
    this.#server ??= this.#startServer();
    return this.#server;
  }

  async warnings(): Promise<readonly string[]> {
    return (await this.#server?.catch(() => undefined))?.warnings() ?? [];
  }

  leaseholder(): Promise<Leaseholder> {
    this.#leaseholder ??= this.server().then((server) => new Leaseholder(server, 2));
    return this.#leaseholder;
  }

  upstream(name: string, files: number): Promise<Upstream> {
    return once(this.#upstreams, name, () => this.#makeUpstream(name, files));
  }

  /** The repository `big`, mirrored by the server. */
  async big(): Promise<Upstream> {
    const upstream = await this.upstream("big", this.sizes.bigFiles);
    await this.register("big", upstream.path);
    return upstream;
  }

  /** The repository `small`, mirrored by the server. */
  async small(): Promise<Upstream> {
    const upstream = await this.upstream("small", this.sizes.smallFiles);
    await this.register("small", upstream.path);
    return upstream;
  }

  register(name: string, url: string, minIdle = 0): Promise<void> {
    return once(this.#registered, name, () => this.#register(name, url, minIdle));
  }

  /** Closers run last first, when the row has ended, however it did. */
  onRowEnd(close: () => unknown): void {
    this.#rowClosers.push(close);
  }

  /** To be called after each row. */
  async endRow(): Promise<void> {
    await this.#run(this.#rowClosers);
    const server = await this.#server?.catch(() => undefined);
    if (server?.isRunning) return;
    if (server) this.say("the server has died: the next row gets another one");
    await this.#forgetServer();
  }

  async close(): Promise<void> {
    await this.#run(this.#rowClosers);
    await this.#forgetServer();
    await this.#run(this.#closers);
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  async #run(closers: (() => unknown)[]): Promise<void> {
    for (const close of closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        this.say(`could not clean up: ${error}`);
      }
    }
  }

  async #startServer(): Promise<ServerProcess> {
    this.say("starting the server");
    const server = await ServerProcess.start(join(this.directory, `data${this.#servers++ || ""}`));
    this.#closers.push(() => server.stop());
    return server;
  }

  /** With all that was made there. */
  async #forgetServer(): Promise<void> {
    const leaseholder = await this.#leaseholder?.catch(() => undefined);
    leaseholder?.close();
    this.#server = undefined;
    this.#leaseholder = undefined;
    this.#registered.clear();
  }

  #makeUpstream(name: string, files: number): Promise<Upstream> {
    this.say(`making the upstream ${name}: ${files} files`);
    return Upstream.make(join(this.directory, "upstreams"), name, files);
  }

  async #register(name: string, url: string, minIdle: number): Promise<void> {
    const leaseholder = await this.leaseholder();
    this.say(minIdle > 0 ? `mirroring ${name} and making ${minIdle} workspaces` : `mirroring ${name}`);
    await leaseholder.register(name, url, minIdle);
  }
}

/** What was made under a name, or is being made; what could not be made is made anew. */
function once<T>(made: Map<string, Promise<T>>, name: string, make: () => Promise<T>): Promise<T> {
  const known = made.get(name);
  if (known) return known;
  const making = make();
  made.set(name, making);
  making.catch(() => made.delete(name));
  return making;
}
