/**
 * Owns the callers that bearer tokens stand for, as listed in a file.
 *
 * Invariants:
 * 1. The file has digests only; a token is compared by its SHA-256 digest, with every entry, in constant time.
 * 2. A file that became unreadable or wrong keeps the old entries, and says so in the log once per change.
 * 3. The file is looked at, at most once a second, when a token is shown: a change counts within a second.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { parse } from "yaml";
import { z } from "zod";
import type { Caller } from "../domain/caller.js";
import type { Log } from "../log.js";

const entrySchema = z.strictObject({
  caller: z.string().regex(/^[^\p{Cc}]{1,128}$/u, "must be 1 to 128 characters"),
  role: z.enum(["admin", "runner"]),
  sha256: z.string().regex(/^[0-9a-fA-F]{64}$/, "must be 64 hexadecimal digits"),
});

interface Entry {
  readonly caller: Caller;
  readonly digest: Buffer;
}

/** How often the file is looked at, in milliseconds. */
const checkIntervalMs = 1000;

export class TokensFile {
  readonly #path: string;
  readonly #log: Log;
  #entries: readonly Entry[];
  #stamp: string;
  #checkedAt = performance.now();
  #check: Promise<void> | undefined;

  private constructor(path: string, log: Log, entries: readonly Entry[], stamp: string) {
    this.#path = path;
    this.#log = log;
    this.#entries = entries;
    this.#stamp = stamp;
  }

  /** Fails with a text for the operator if the file cannot be read or is wrong. */
  static async open(path: string, log: Log): Promise<TokensFile> {
    const stamp = await stampOf(path);
    return new TokensFile(path, log, await readEntries(path), stamp);
  }

  /** Whom the token stands for, or undefined if it is not known. */
  async callerOf(token: string): Promise<Caller | undefined> {
    if (performance.now() - this.#checkedAt >= checkIntervalMs) await this.#reread();
    const digest = createHash("sha256").update(token).digest();
    let found: Caller | undefined;
    for (const entry of this.#entries) {
      if (timingSafeEqual(entry.digest, digest)) found = entry.caller;
    }
    return found;
  }

  /** One look at a time; calls that come meanwhile share it. */
  #reread(): Promise<void> {
    this.#check ??= this.#rereadOnce().finally(() => {
      this.#checkedAt = performance.now();
      this.#check = undefined;
    });
    return this.#check;
  }

  async #rereadOnce(): Promise<void> {
    const stamp = await stampOf(this.#path).catch((error: NodeJS.ErrnoException) => `unreadable: ${error.code}`);
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    try {
      this.#entries = await readEntries(this.#path);
      this.#log.info({ file: this.#path, tokens: this.#entries.length }, "tokens file read again");
    } catch (error) {
      this.#log.error({ file: this.#path, err: error }, "tokens file is wrong; the old tokens stay in force");
    }
  }
}

async function stampOf(path: string): Promise<string> {
  const { mtimeNs, size, ino } = await stat(path, { bigint: true });
  return `${mtimeNs} ${size} ${ino}`;
}

async function readEntries(path: string): Promise<readonly Entry[]> {
  const content = await readFile(path, "utf8");
  const result = z.array(entrySchema).safeParse(parse(content) ?? []);
  if (!result.success) {
    const faults = result.error.issues.map(({ path: place, message }) => `[${place.join(".")}] ${message}`);
    throw new Error(`${path}: ${faults.join("; ")}`);
  }
  return result.data.map(({ caller, role, sha256 }) => ({
    caller: { name: caller, role },
    digest: Buffer.from(sha256, "hex"),
  }));
}
