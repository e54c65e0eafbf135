/**
 * Owns the two-uid layout's preconditions: who the holders' user is, whether this process may act as that user, and that
 * the server's directories are out of its reach.
 *
 * Invariants:
 * 1. Whatever stands against it ends the start, as a fault of the configuration in one line.
 * 2. The holders' user can pass through the directories above the workspaces, and list or change none of them; nor those
 *    that lead there by a symlink.
 */
import { execFile } from "node:child_process";
import { chmodSync, closeSync, constants, lstatSync, mkdirSync, openSync, readdirSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { ConfigError } from "./config/config.js";
import { chooseAccount } from "./postgres/embedded/account.js";

export interface HolderUser {
  readonly uid: number;
  readonly gid: number;
}

export interface Directories {
  readonly dataDir: string;
  readonly mirrorRoot: string;
  readonly workspaceRoot: string;
}

const run = promisify(execFile);
const stickyBit = 0o1000;
/** As many as the kernel follows. */
const mostLinks = 40;
/** `O_TMPFILE` of Linux, without O_DIRECTORY, which is part of it. */
const temporaryFile = 0o20000000;

/** Undefined without `text`. `postgresDir`: of the embedded Postgres, which is used where there is no `databaseUrl`. */
export async function findHolderUser(
  text: string | undefined,
  postgresDir: string,
  databaseUrl: string | undefined,
): Promise<HolderUser | undefined> {
  if (text === undefined) return undefined;
  if (process.platform !== "linux") throw fault("is for Linux only");
  const own = process.geteuid?.();
  if (own !== 0) {
    throw fault(`needs a server that runs as root, so that it can act as another user; this one runs as uid ${own}`);
  }
  const user = await lookUp(text);
  if (user.uid === own) throw fault(`${text} is the server's own user: name another one, or none`);
  try {
    as(user, () => undefined);
  } catch (error) {
    throw fault(`this process may not act as uid ${user.uid} (${codeOf(error)}): it lacks CAP_SETUID and CAP_SETGID`);
  }
  if (databaseUrl === undefined) await refusePostgres(user, postgresDir);
  return user;
}

/** Makes the directories' modes what the layout needs, and looks whether those above them let it be. */
export async function shieldDirectories(user: HolderUser, directories: Directories): Promise<void> {
  const { dataDir, mirrorRoot, workspaceRoot } = directories;
  const hidden = ["indexes", "trash", "mirrors", "salvages"].map((name) => join(dataDir, name));
  mkdirSync(join(workspaceRoot, ".trash"), { recursive: true, mode: 0o700 });
  for (const path of [...hidden, mirrorRoot, join(workspaceRoot, ".trash")]) setMode(path, 0o700);
  setMode(workspaceRoot, 0o711);
  // on the way to the caches of installers; what is kept there is closed by itself
  for (const store of [join(dataDir, "dependencies"), join(workspaceRoot, ".dependencies")]) {
    setMode(store, 0o711);
  }
  // one for each repository
  for (const entry of readdirSync(workspaceRoot, { withFileTypes: true })) {
    if (entry.isDirectory() && !entry.name.startsWith(".")) setMode(join(workspaceRoot, entry.name), 0o711);
  }
  checkReach(user, directories);
}

/** Whether what is there lets the holders' user come to its workspaces, and no further. Changes nothing. */
export function checkReach(user: HolderUser, { dataDir, mirrorRoot, workspaceRoot }: Directories): void {
  for (const path of new Set([dataDir, mirrorRoot, workspaceRoot].flatMap(waysTo))) refuseChanges(user, path);
  for (const path of waysTo(workspaceRoot)) {
    if (!canPass(user, path)) throw fault(`uid ${user.uid} may not pass through ${path} to the workspaces`);
  }
  // the git workers' homes are there, and libgit2 looks into them for what is not there
  for (const path of waysTo(tmpdir())) {
    if (!canPass(user, path))
      throw fault(`uid ${user.uid} may not pass through ${path}: set TMPDIR to another directory`);
  }
}

async function lookUp(text: string): Promise<HolderUser> {
  const numbers = /^(\d+)(?::(\d+))?$/.exec(text);
  const ask = async (flag: string) => Number((await run("id", [flag, "--", numbers?.[1] ?? text])).stdout);
  try {
    const user = { uid: await ask("-u"), gid: numbers?.[2] === undefined ? await ask("-g") : Number(numbers[2]) };
    if (!numbers || user.uid === Number(numbers[1])) return user;
  } catch {
    if (!numbers) throw fault(`there is no user ${text}`);
  }
  const uid = Number(numbers?.[1]);
  return { uid, gid: Number(numbers?.[2] ?? uid) };
}

async function refusePostgres({ uid }: HolderUser, postgresDir: string): Promise<void> {
  for (const directory of [join(resolve(postgresDir), "pg18"), "/nonexistent"]) {
    const account = await chooseAccount(directory).catch(() => undefined);
    if (account?.uid !== uid) continue;
    throw fault(`the embedded Postgres runs as uid ${uid}: make a user \`postgres\`, or set database_url`);
  }
}

/** Whoever may write to a directory may put another one in the place of what is in it. */
function refuseChanges(user: HolderUser, path: string): void {
  const stat = lstatSync(path);
  const { uid, mode } = stat;
  if (uid === user.uid) throw fault(`${path} belongs to uid ${user.uid}, who could replace what is in it`);
  // where it leads is judged by itself
  if (stat.isSymbolicLink()) return;
  if (canWrite(user, path) && !(mode & stickyBit)) {
    throw fault(`uid ${user.uid} may write to ${path}, and could replace what is in it`);
  }
}

function canPass(user: HolderUser, path: string): boolean {
  return as(user, () => {
    try {
      return lstatSync(`${path}/.`).isDirectory();
    } catch {
      return false;
    }
  });
}

/** By making a file there that has no name and is gone at once. `access` would ask for the real user. */
function canWrite(user: HolderUser, path: string): boolean {
  return as(user, () => {
    try {
      closeSync(openSync(path, temporaryFile | constants.O_DIRECTORY | constants.O_RDWR, 0o600));
      return true;
    } catch (error) {
      // a file system that has no such files says so after it has looked at the rights
      return codeOf(error) === "EOPNOTSUPP" || codeOf(error) === "ENOTSUP";
    }
  });
}

/** With the user's effective ids. */
function as<T>({ uid, gid }: HolderUser, work: () => T): T {
  const groups = process.getgroups?.() ?? [];
  const ownGid = process.getegid?.() ?? 0;
  try {
    process.setgroups?.([gid]);
    process.setegid?.(gid);
    process.seteuid?.(uid);
    return work();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(ownGid);
    process.setgroups?.(groups);
  }
}

function setMode(path: string, mode: number): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) chmodSync(path, mode);
}

/**
 * The directories and symlinks that are passed on the way to `path`, and itself, as far as they are there: whoever may change
 * or replace any of them decides where the way leads.
 */
function waysTo(path: string): string[] {
  const found = new Set<string>();
  const left = resolve(path).split("/").slice(1);
  let at = "/";
  for (let links = 0; ; ) {
    found.add(at);
    const name = left.shift();
    if (name === undefined) return [...found];
    if (name === "" || name === ".") continue;
    const next = resolve(at, name);
    const stat = lstatSync(next, { throwIfNoEntry: false });
    if (!stat) return [...found];
    if (!stat.isSymbolicLink()) {
      at = next;
      continue;
    }
    found.add(next);
    if (++links > mostLinks) throw fault(`${path} leads through too many symlinks`);
    const target = readlinkSync(next);
    left.unshift(...target.split("/"));
    if (target.startsWith("/")) at = "/";
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

function fault(message: string): ConfigError {
  return new ConfigError([`holder_user: ${message}`]);
}
