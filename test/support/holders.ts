/**
 * Owns: traffic. Holders that acquire with request ids, leave files, heartbeat, release, and try again while a server or
 * its database is away, as the real client does; and the book of what they were told, to be compared with the store.
 *
 * 1. A holder whose call was refused for any reason but a passing one, or who finds another's files, ends with a failure.
 */
import { randomUUID } from "node:crypto";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, type Held, isPassing, readRefusal } from "./rpc-client.js";
import { until } from "./until.js";

export interface TrafficOptions {
  readonly repository: string;
  readonly holders: number;
  /** Servers of one database; a call that is made again goes to the next one. */
  readonly clients: readonly Client[];
  /** On which host; the default is that of the answering server. */
  readonly host?: string;
  /** How often each lease is renewed before it is released. */
  readonly heartbeats?: number;
}

/** A starved holder on a slow machine under chaos is no failure; one that never gets anything is. */
const retryLimitMs = 180_000;
const retryPauseMs = 50;
/** A frozen server answers nothing: then the call is made again. */
const answerLimitMs = 12_000;
const waitMs = 10_000;

export class Traffic {
  /** Leases that a holder was told of. */
  readonly acknowledged: Held[] = [];
  /** Leases whose release was answered. */
  readonly released = new Set<string>();
  readonly failures: unknown[] = [];
  readonly #options: TrafficOptions;
  readonly #holders: Promise<void>[];
  #stopping = false;
  #calls = 0;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#holders = Array.from({ length: options.holders }, (_, number) =>
      this.#hold(number).catch((error: unknown) => void this.failures.push(error)),
    );
  }

  /** Resolves when so many leases more have been released, and fails if a holder has. */
  async progress(leases: number, limitMs = 60_000): Promise<void> {
    const wanted = this.released.size + leases;
    await until(
      `${leases} leases more were released`,
      () => this.failures.length > 0 || this.released.size >= wanted,
      limitMs,
    );
    this.#check();
  }

  /** Lets everybody finish with the lease in hand. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#holders);
    this.#check();
  }

  #check(): void {
    const [failure] = this.failures;
    if (failure !== undefined) throw failure;
  }

  async #hold(number: number): Promise<void> {
    const { heartbeats = 3 } = this.#options;
    while (!this.#stopping && this.failures.length === 0) {
      const held = await this.#acquire(number);
      if (!held) continue;
      this.acknowledged.push(held);
      await mark(held, "before");
      const { leaseId, leaseToken } = held;
      const proof = { leaseId, leaseToken };
      for (let beat = 0; beat < heartbeats; beat++) {
        await this.#persist("heartbeat", ({ workspaces }, options) => workspaces.heartbeat(proof, options));
      }
      await mark(held, "after");
      await this.#persist("release", ({ workspaces }, options) => workspaces.release(proof, options));
      this.released.add(leaseId);
    }
  }

  /** Undefined if the request's lease was released because no answer had reached its caller for too long. */
  async #acquire(number: number): Promise<Held | undefined> {
    const { repository, host = "" } = this.#options;
    const request = { repository, host, requestId: randomUUID(), holder: `holder ${number}`, waitMs };
    try {
      return await this.#persist("acquire", (client, { timeoutMs }) => client.acquire(request, undefined, timeoutMs));
    } catch (error) {
      const { reason, metadata } = readRefusal((error as Error).cause);
      if (reason === "LEASE_LOST" && metadata.end_reason === "RELEASED") return undefined;
      throw error;
    }
  }

  #persist<T>(what: string, call: (client: Client, options: { timeoutMs: number }) => Promise<T>): Promise<T> {
    const { clients } = this.#options;
    return persist(what, () => call(clients[this.#calls++ % clients.length] as Client, { timeoutMs: answerLimitMs }));
  }
}

/** Makes the call again while what refuses it is passing; `also`: reasons that are passing in this test. */
export async function persist<T>(what: string, call: () => Promise<T>, also: readonly string[] = []): Promise<T> {
  const end = performance.now() + retryLimitMs;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const passes = isPassing(error) || also.includes(readRefusal(error).reason);
      if (!passes || performance.now() > end) throw new Error(`${what} failed`, { cause: error });
      await sleep(retryPauseMs);
    }
  }
}

/** Leaves a file of its own, and fails if anybody else has left one in this directory. */
export async function mark({ path, leaseId }: Held, name: string): Promise<void> {
  await writeFile(join(path, `${name}.mark`), leaseId, { flag: "wx" });
  await writeFile(join(path, `${leaseId}.mark`), leaseId);
  const strangers = (await readdir(path)).filter(
    (file) => /^w\d+\.\d+\.mark$/.test(file) && file !== `${leaseId}.mark`,
  );
  if (strangers.length > 0) throw new Error(`${strangers} in the workspace of ${leaseId}`);
}
