/**
 * Owns: what the tests of foreign clients fetched and built, kept between runs.
 *
 * 1. It is in `$XDG_CACHE_HOME/leasehold-interop` (or `~/.cache`), under a name that changes with whatever it was made
 *    of, and appears there whole or not at all.
 * 2. Runs and test files that want the same at once take turns: it is made once.
 * 3. What nobody has used for a week goes when something of its kind is made.
 */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { until } from "../support/until.js";
import { buildLimitMs, reachLimitMs, Unavailable } from "./toolchain.js";

/** How long somebody else may make what is wanted here too, in milliseconds. */
const turnLimitMs = reachLimitMs + buildLimitMs;
const weekMs = 7 * 24 * 3600_000;

/**
 * The directory that `make` filled, now or in an earlier run, with what it is made of as its key.
 * `make` fills a directory that is moved into its place afterwards.
 */
export async function cached(
  name: string,
  key: readonly string[],
  make: (directory: string) => Promise<void>,
): Promise<string> {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "leasehold-interop");
  mkdirSync(cache, { recursive: true });
  const digest = createHash("sha256").update(JSON.stringify(key)).digest("hex").slice(0, 16);
  const place = join(cache, `${name}-${digest}`);
  const lock = `${place}.lock`;
  await until(`${name} is there, or ours to make`, () => existsSync(place) || takeLock(lock), turnLimitMs).catch(
    (error: Error) => {
      throw new Unavailable(error.message);
    },
  );
  try {
    if (existsSync(place)) {
      utimesSync(place, new Date(), new Date());
      return place;
    }
    forgetUnused(cache, name);
    const staging = mkdtempSync(join(cache, `${name}-staging-`));
    try {
      await make(staging);
      renameSync(staging, place);
    } catch (error) {
      // Where a lock was broken, somebody else may have put his own there: it is made of the same.
      if (!existsSync(place)) throw error;
    } finally {
      rmSync(staging, { recursive: true, force: true });
    }
    return place;
  } finally {
    if (holderOf(lock) === process.pid) rmSync(lock, { force: true });
  }
}

/** Every file below a directory, or the file itself: its name and content, for a key. */
export function contents(path: string, name = ""): string[] {
  if (!statSync(path).isDirectory()) return [name, readFileSync(path, "utf8")];
  return readdirSync(path)
    .sort()
    .flatMap((entry) => contents(join(path, entry), `${name}/${entry}`));
}

/** Whether the lock is ours now. One whose process is gone counts for nothing. */
function takeLock(lock: string): boolean {
  try {
    writeFileSync(lock, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const holder = holderOf(lock);
  if (holder !== undefined && !isAlive(holder)) rmSync(lock, { force: true });
  return false;
}

/** Undefined also for the moment between the lock's birth and its first byte. */
function holderOf(lock: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(lock, "utf8"), 10) || undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function forgetUnused(cache: string, name: string): void {
  for (const entry of readdirSync(cache)) {
    const path = join(cache, entry);
    const used = entry.startsWith(`${name}-`) ? statSync(path, { throwIfNoEntry: false })?.mtimeMs : undefined;
    if (used !== undefined && used < Date.now() - weekMs) rmSync(path, { recursive: true, force: true });
  }
}
