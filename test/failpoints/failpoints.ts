/** Owns: arming failpoints of a server's git workers, and knowing which there are. */
import { access, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { until } from "../support/until.js";

export type Action = "kill-worker" | "kill-server" | "full" | "read-only";

export class Failpoints {
  readonly #control: string;

  private constructor(control: string) {
    this.#control = control;
  }

  static async make(root: string): Promise<Failpoints> {
    const control = join(root, "failpoints");
    await mkdir(control);
    return new Failpoints(control);
  }

  /** For the server's process. */
  get env(): Record<string, string> {
    const preload = pathToFileURL(resolve("test/failpoints/server-preload.mjs")).href;
    return { NODE_OPTIONS: `--import ${preload}`, LEASEHOLD_TEST_FAILPOINTS: this.#control };
  }

  /** Notes every point that work on what is about `about` passes during `work`, in their order. */
  async trace(about: string, work: () => Promise<void>): Promise<string[]> {
    const trace = join(this.#control, `trace-${about}`);
    await writeFile(trace, "");
    await this.#write(about, { about, trace });
    await work();
    await this.disarm(about);
    return [...new Set((await readFile(trace, "utf8")).split("\n").filter(Boolean))];
  }

  /** The next time that work on what is about `about` passes the point, it happens; once. */
  async arm(about: string, point: string, action: Action): Promise<void> {
    await rm(`${this.#armed(about)}.hit`, { force: true });
    await this.#write(about, { about, point, action });
  }

  /** Whether the point was passed before `isOver`: what depends on the clock, such as racy files, is not in every run. */
  async hit(about: string, point: string, isOver: () => Promise<boolean>): Promise<boolean> {
    await until(
      `the failpoint is passed: ${point}`,
      async () => (await this.isHit(about)) || ((await isOver()) && !(await this.isHit(about))),
      120_000,
    );
    return this.isHit(about);
  }

  isHit(about: string): Promise<boolean> {
    return access(`${this.#armed(about)}.hit`).then(
      () => true,
      () => false,
    );
  }

  async disarm(about: string): Promise<void> {
    await rm(this.#armed(about), { force: true });
  }

  /** At once: a worker never reads half of it. */
  async #write(about: string, what: object): Promise<void> {
    const whole = join(this.#control, `being-armed-${about}`);
    await writeFile(whole, JSON.stringify(what));
    await rename(whole, this.#armed(about));
  }

  #armed(about: string): string {
    return join(this.#control, `armed-${about}.json`);
  }
}
