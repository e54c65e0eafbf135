/**
 * Owns the two-uid layout's preconditions: who the holders' user is, whether this process may act as that user, and that
 * the server's directories are out of its reach.
 *
 * Invariants:
 * 1. Whatever stands against it ends the start, as a fault of the configuration in one line.
 * 2. The holders' user can pass through the directories above the workspaces, and list or change none of them.
 */
import { execFile } from "node:child_process";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
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
  const hidden = ["indexes", "trash", "mirrors", "salvages", "dependencies"].map((name) => join(dataDir, name));
  mkdirSync(join(workspaceRoot, ".trash"), { recursive: true, mode: 0o700 });
  for (const path of [...hidden, mirrorRoot, join(workspaceRoot, ".trash")]) setMode(path, 0o700);
  setMode(workspaceRoot, 0o711);
  // one for each repository
  for (const entry of readdirSync(workspaceRoot, { withFileTypes: true })) {
    if (entry.isDirectory() && !entry.name.startsWith(".")) setMode(join(workspaceRoot, entry.name), 0o711);
  }
  checkReach(user, directories);
}

/** Whether what is there lets the holders' user come to its workspaces, and no further. Changes nothing. */
export function checkReach(user: HolderUser, { dataDir, mirrorRoot, workspaceRoot }: Directories): void {
  for (const path of new Set([dataDir, mirrorRoot, workspaceRoot].flatMap(withParents))) refuseChanges(user, path);
  for (const path of withParents(workspaceRoot)) {
    if (!canPass(user, path)) throw fault(`uid ${user.uid} may not pass through ${path} to the workspaces`);
  }
  // the git workers' homes are there, and libgit2 looks into them for what is not there
  for (const path of withParents(tmpdir())) {
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
  const { uid, mode } = statSync(path);
  if (uid === user.uid) throw fault(`${path} belongs to uid ${user.uid}, who could replace what is in it`);
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

/** From the top down, as far as they are there. */
function withParents(path: string): string[] {
  const found = [path];
  for (let at = path; dirname(at) !== at; at = dirname(at)) found.push(dirname(at));
  return found.reverse().filter((one) => existsSync(one));
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

function fault(message: string): ConfigError {
  return new ConfigError([`holder_user: ${message}`]);
}
