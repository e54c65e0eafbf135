/**
 * Owns: the directory with Postgres's data: making it, and judging what an earlier process left in it.
 *
 * 1. A data directory appears under its final name only when initdb has finished: it is made as
 *    `<dir>.init-<pid>-<random>` and renamed. Of several processes that do so at once one wins, the others remove theirs.
 * 2. What a killed initdb left is removed by a later start, never used.
 * 3. A data directory of another major version is refused, not hidden by a new empty one.
 * 4. `postmaster.pid` is removed only when the process that it names is gone or is no Postgres.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, chown, lchown, mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { type Account, requireNamedUser } from "./account.js";
import type { Binaries } from "./binaries.js";
import { isRunning, servesCluster } from "./process.js";

const run = promisify(execFile);

/** The one database user, a superuser behind a directory that nobody else can enter; and its database. */
export const clusterUser = "leasehold";

/** An initdb takes seconds; one that is this old was abandoned even if its process id is in use again. */
const initAbandonedAfterMs = 10 * 60_000;

/** Postgres makes its lock file and writes to it at once: one that stays empty is of a start that was killed. */
const unwrittenAfterMs = 5_000;

/** How to name the data directory on a command line of the account, whose processes may not enter its parents. */
export function addressAs(account: Account | undefined, clusterDir: string): string {
  // The program is started with the data directory as its working directory, entered while still root. By this name
  // it stays reachable although the directories above belong to root with mode 0700.
  return account !== undefined && process.platform === "linux" ? "/proc/self/cwd" : clusterDir;
}

/** Makes the data directory unless it is there. */
export async function prepareCluster(
  clusterDir: string,
  options: {
    readonly binaries: Binaries;
    readonly account: Account | undefined;
    readonly fsync: boolean;
    readonly log: (message: string) => void;
  },
): Promise<void> {
  const { account, log } = options;
  await removeAbandoned(clusterDir);
  if (await isCluster(clusterDir)) {
    await takeOver(clusterDir, account);
    return;
  }
  await refuseOtherVersion(clusterDir);
  requireNamedUser(account);
  log("making the database (first start)");
  const staging = `${clusterDir}.init-${process.pid}-${randomBytes(4).toString("hex")}`;
  await mkdir(staging, { mode: 0o700 });
  try {
    await initialise(staging, options);
    await rename(staging, clusterDir);
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    if (!(await isCluster(clusterDir))) {
      throw error; // otherwise another process was first, and its data directory is as good
    }
  }
}

async function initialise(
  staging: string,
  options: { readonly binaries: Binaries; readonly account: Account | undefined; readonly fsync: boolean },
): Promise<void> {
  const { account, binaries, fsync } = options;
  if (account !== undefined) {
    await chown(staging, account.uid, account.gid);
  }
  const flags = ["-U", clusterUser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"];
  try {
    await run(binaries.initdb, ["-D", addressAs(account, staging), ...flags, ...(fsync ? [] : ["--no-sync"])], {
      ...account,
      cwd: staging,
      env: postgresEnvironment,
    });
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    const lines = (stderr || message).trim().split("\n");
    const reason = lines.find((line) => /error:|FATAL:/.test(line)) ?? lines.at(-1) ?? "";
    throw new Error(`initdb failed in ${staging}: ${reason.trim()}`);
  }
}

/** Postgres and initdb read many variables (PGPORT, PGOPTIONS, LC_ALL): they get none of the operator's. */
export const postgresEnvironment = { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };

async function isCluster(clusterDir: string): Promise<boolean> {
  return await stat(join(clusterDir, "PG_VERSION")).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") {
        return false;
      }
      throw error;
    },
  );
}

/** Data that were copied back by root belong to root: Postgres wants to own them and that nobody else can read them. */
async function takeOver(clusterDir: string, account: Account | undefined): Promise<void> {
  if (account !== undefined && (await stat(clusterDir)).uid === 0) {
    for (const name of await readdir(clusterDir, { recursive: true })) {
      await lchown(join(clusterDir, name), account.uid, account.gid);
    }
    await chown(clusterDir, account.uid, account.gid);
    await chmod(clusterDir, 0o700);
  }
}

async function refuseOtherVersion(clusterDir: string): Promise<void> {
  for (const name of await readdir(join(clusterDir, ".."))) {
    if (/^pg\d+$/.test(name) && name !== basename(clusterDir)) {
      throw new Error(
        `${join(clusterDir, "..", name)} was made by Postgres ${name.slice(2)}, but the programs here are Postgres ${basename(clusterDir).slice(2)}: dump it with the old version, or move it away`,
      );
    }
  }
}

async function removeAbandoned(clusterDir: string): Promise<void> {
  const parent = join(clusterDir, "..");
  const prefix = `${basename(clusterDir)}.init-`;
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) {
      continue;
    }
    const path = join(parent, name);
    const pid = Number.parseInt(name.slice(prefix.length), 10);
    const made = await stat(path).catch(() => undefined);
    const alive = pid !== process.pid && isRunning(pid);
    if (made !== undefined && (!alive || Date.now() - made.mtimeMs > initAbandonedAfterMs)) {
      // An initdb that outlived its parent may still write here: then this fails, and the next start does it.
      await rm(path, { recursive: true, force: true }).catch(() => undefined);
    }
  }
}

/** The process id in `postmaster.pid`, if there is one. */
export async function postmasterPid(clusterDir: string): Promise<number | undefined> {
  const text = await readFile(join(clusterDir, "postmaster.pid"), "utf8").catch(() => "");
  const pid = Number.parseInt(text, 10);
  return Number.isInteger(pid) && pid > 1 ? pid : undefined;
}

/**
 * Removes a `postmaster.pid` that keeps Postgres from starting although nothing serves the data: Postgres itself
 * refuses when the process id is in use by any process of its user, or by a zombie that nobody waits for.
 * Answers whether it removed one.
 */
export async function removeStalePid(clusterDir: string): Promise<boolean> {
  const file = join(clusterDir, "postmaster.pid");
  const found = await stat(file).catch(() => undefined);
  const pid = await postmasterPid(clusterDir);
  if (found === undefined || (pid !== undefined && servesCluster(pid, clusterDir))) {
    return false;
  }
  if (pid === undefined && Date.now() - found.mtimeMs < unwrittenAfterMs) {
    return false; // another Postgres may be about to write its process id
  }
  const aside = `${file}.${process.pid}`;
  await rename(file, aside).catch(() => undefined);
  const moved = await stat(aside).catch(() => undefined);
  if (moved !== undefined && moved.ino !== found.ino) {
    await rename(aside, file); // a Postgres started in between: that one is its own
    return false;
  }
  await rm(aside, { force: true });
  return true;
}
