/**
 * Owns what the rows share: a directory, one server, the upstreams. Each is made when a row first needs it.
 *
 * Invariant: `close` ends every process that was started and removes every file that was made.
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
  #server: Promise<ServerProcess> | undefined;
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
    this.#server ??= (async () => {
      this.say("starting the server");
      const server = await ServerProcess.start(join(this.directory, "data"));
      this.onClose(() => server.stop());
      return server;
    })();
    return this.#server;
  }

  async warnings(): Promise<readonly string[]> {
    return (await this.#server?.catch(() => undefined))?.warnings() ?? [];
  }

  leaseholder(): Promise<Leaseholder> {
    this.#leaseholder ??= (async () => {
      const leaseholder = new Leaseholder(await this.server(), 2);
      this.onClose(() => leaseholder.close());
      return leaseholder;
    })();
    return this.#leaseholder;
  }

  upstream(name: string, files: number): Promise<Upstream> {
    const known = this.#upstreams.get(name) ?? this.#makeUpstream(name, files);
    this.#upstreams.set(name, known);
    return known;
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
    const known = this.#registered.get(name) ?? this.#register(name, url, minIdle);
    this.#registered.set(name, known);
    return known;
  }

  /** Closers run last first. */
  onClose(close: () => unknown): void {
    this.#closers.push(close);
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        this.say(`could not clean up: ${error}`);
      }
    }
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
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
