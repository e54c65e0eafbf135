/**
 * Owns: which user of the system the embedded Postgres runs as.
 *
 * 1. Postgres refuses to run as root. When this process is root, Postgres runs as whoever owns the existing data,
 *    else as `postgres`, else as `nobody`; in every other case it runs as this process's own user.
 * 2. A start that cannot work ends in one line that says what to do, before any file is made.
 */
import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { promisify } from "node:util";

/** The ids to spawn Postgres with; undefined means those of this process. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

const run = promisify(execFile);

/** Chooses the account for the data in `clusterDir`, which need not exist yet. */
export async function chooseAccount(clusterDir: string): Promise<Account | undefined> {
  const own = process.getuid?.();
  const owner = await stat(clusterDir).catch(() => undefined);
  if (own !== 0) {
    if (owner !== undefined && own !== undefined && owner.uid !== own) {
      throw new Error(
        `the Postgres data in ${clusterDir} belong to uid ${owner.uid}, but this process runs as uid ${own}: start it as uid ${owner.uid}, or as root`,
      );
    }
    return undefined;
  }
  if (owner !== undefined && owner.uid !== 0) {
    return { uid: owner.uid, gid: owner.gid };
  }
  const account = (await lookUp("postgres")) ?? (await lookUp("nobody"));
  if (account === undefined) {
    throw new Error(
      "Postgres does not run as root, and there is neither a user `postgres` nor `nobody`: create one (`useradd --system postgres`), or set DATABASE_URL",
    );
  }
  return account;
}

/** initdb looks its user up by uid and fails for one that has no name (as with `docker run --user 12345`). */
export function requireNamedUser(account: Account | undefined): void {
  if (account !== undefined) {
    return; // found by its name
  }
  try {
    userInfo();
  } catch {
    throw new Error(
      `uid ${process.getuid?.()} has no entry in /etc/passwd, which Postgres's initdb needs: add one, or set DATABASE_URL`,
    );
  }
}

async function lookUp(user: string): Promise<Account | undefined> {
  try {
    const [uid, gid] = await Promise.all([run("id", ["-u", user]), run("id", ["-g", user])]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined;
  }
}
