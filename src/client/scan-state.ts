/**
 * Owns what a session's scans remember in the workspace's `.git`, beside what git itself keeps there.
 *
 * Invariants:
 * 1. Versions follow one another: a version is made by an exclusive link, so of two scans that begin from the same one
 *    only one goes on, and the other looks again. There is no lock that a killed process could leave.
 * 2. What is to be recorded is written whole before the version that names it. A plan that no version names was never
 *    meant; one that the newest version names is recorded, by whoever scans next if need be, under the same request ids.
 */
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { link, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What the last scan saw. */
export interface ScanState {
  readonly version: number;
  /** Id of the tree of the files. */
  readonly tree: string;
  /** Where HEAD was, newest first, at most `mostHeads`; the first may be empty for a branch without commits. */
  readonly heads: readonly string[];
  /** What was, or is still to be, recorded. */
  readonly plans: readonly string[];
}

/** One call of RecordChange. */
export interface Batch<T> {
  readonly agent: string;
  readonly requestId: string;
  readonly changes: readonly T[];
}

/** Most heads that are remembered: a commit below one of them was looked at before. */
export const mostHeads = 200;

/** Most changes of a batch, and most bytes of it, below what a server accepts in one message. */
const batchLength = 100;
const batchBytes = 2 * 1024 * 1024;

/** After how long, in milliseconds, what nobody needs is removed: longer than any scan takes. */
const keptMs = 60 * 60 * 1_000;

export class ScanStates {
  readonly #versions: string;
  readonly #plans: string;

  constructor(home: string) {
    this.#versions = join(home, "versions");
    this.#plans = join(home, "plans");
  }

  /** The newest; undefined before the first scan. */
  async latest(): Promise<ScanState | undefined> {
    await mkdir(this.#versions, { recursive: true });
    await mkdir(this.#plans, { recursive: true });
    const newest = (await this.#numbers()).at(-1);
    if (newest === undefined) return undefined;
    return JSON.parse(await readFile(join(this.#versions, `${newest}.json`), "utf8")) as ScanState;
  }

  /** Makes the next version. Answers whether nobody else did. */
  async advance(next: ScanState): Promise<boolean> {
    const written = join(this.#versions, `${randomUUID()}.new`);
    await writeFile(written, JSON.stringify(next), { flush: true });
    try {
      await link(written, join(this.#versions, `${next.version}.json`));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
      throw error;
    } finally {
      await rm(written, { force: true });
    }
  }

  /** Begins a plan, which nobody sees until a version names it. */
  plan<T>(agent: string): Plan<T> {
    return new Plan(this.#plans, agent);
  }

  /** Whether something of a plan is still to be recorded. */
  isOpen(plan: string): boolean {
    return existsSync(join(this.#plans, plan));
  }

  /** Gives what is left of a plan to `record`, in order, and forgets what it took. */
  async carryOut<T>(plan: string, record: (batch: Batch<T>) => Promise<void>): Promise<void> {
    const directory = join(this.#plans, plan);
    for (const name of (await orNone(readdir(directory))).sort()) {
      const path = join(directory, name);
      const text = await readFile(path, "utf8").catch(() => undefined);
      // another process carries it out at the same time, and was quicker
      if (text === undefined) continue;
      await record(JSON.parse(text) as Batch<T>);
      await rm(path, { force: true });
    }
    await rm(directory, { recursive: true, force: true });
  }

  discard(plan: string): Promise<void> {
    return rm(join(this.#plans, plan), { recursive: true, force: true });
  }

  /** Removes what killed scans left, and old versions; never what a scan that runs could still build on. */
  async tidy(state: ScanState): Promise<void> {
    const old = (await this.#numbers()).slice(0, -16).map((number) => join(this.#versions, `${number}.json`));
    const half = (await orNone(readdir(this.#versions))).filter((name) => name.endsWith(".new"));
    const plans = (await orNone(readdir(this.#plans))).filter((plan) => !state.plans.includes(plan));
    const left = [
      ...old,
      ...half.map((name) => join(this.#versions, name)),
      ...plans.map((plan) => join(this.#plans, plan)),
    ];
    for (const path of left) await removeOld(path);
  }

  async #numbers(): Promise<number[]> {
    const names = await readdir(this.#versions);
    return names
      .map((name) => Number(/^(\d+)\.json$/.exec(name)?.[1] ?? Number.NaN))
      .filter((number) => !Number.isNaN(number))
      .sort((a, b) => a - b);
  }
}

export class Plan<T> {
  readonly name = randomUUID();
  readonly #directory: string;
  readonly #agent: string;
  #changes: T[] = [];
  #bytes = 0;
  #batches = 0;

  constructor(plans: string, agent: string) {
    this.#directory = join(plans, this.name);
    this.#agent = agent;
  }

  /** `bytes`: about how many it takes in a message. */
  add(change: T, bytes: number): void {
    if (this.#changes.length === batchLength || this.#bytes + bytes > batchBytes) this.flush();
    this.#changes.push(change);
    this.#bytes += bytes;
  }

  /** Writes what was added. Answers whether anything ever was. */
  flush(): boolean {
    if (this.#changes.length > 0) {
      const number = String(++this.#batches).padStart(8, "0");
      const requestId = `scan-${this.name}-${number}`;
      const batch: Batch<T> = { agent: this.#agent, requestId, changes: this.#changes };
      mkdirSync(this.#directory, { recursive: true });
      writeFileSync(join(this.#directory, `${number}.json`), JSON.stringify(batch), { flush: true });
      this.#changes = [];
      this.#bytes = 0;
    }
    return this.#batches > 0;
  }
}

/** Removes what was not touched for long. */
export async function removeOld(path: string): Promise<void> {
  const facts = await stat(path).catch(() => undefined);
  if (facts !== undefined && Date.now() - facts.mtimeMs > keptMs) await rm(path, { recursive: true, force: true });
}

async function orNone(names: Promise<string[]>): Promise<string[]> {
  try {
    return await names;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
