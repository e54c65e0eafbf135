/**
 * Owns: the directory name under which clients find the embedded Postgres's unix socket.
 *
 * 1. The socket itself always lies in the data directory, which no other user can enter.
 * 2. The kernel limits a socket's path to about 100 bytes. A data directory that is deeper is reached through a
 *    symbolic link in a temporary directory of mode 0700, named after the data directory.
 */
import { createHash } from "node:crypto";
import { lstat, mkdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The port is part of the socket's name only: nothing listens on TCP. */
export const socketPort = 5432;

/** Bytes: 107 on Linux, 103 on macOS, without the ending NUL. */
const socketPathLimit = 103;

/** The directory to give to clients as `host`; makes or repairs the link where one is needed. */
export async function socketDirectory(clusterDir: string): Promise<string> {
  if (fits(clusterDir)) {
    return clusterDir;
  }
  const parent = linkParent(clusterDir);
  await mkdir(parent, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") {
      throw error;
    }
  });
  const found = await lstat(parent);
  if (!found.isDirectory() || found.uid !== (process.getuid?.() ?? found.uid) || (found.mode & 0o077) !== 0) {
    throw new Error(`${parent} is in the way: it must be a directory of this user with mode 0700`);
  }
  const link = join(parent, "pg");
  if ((await readlink(link).catch(() => "")) !== clusterDir) {
    const fresh = `${link}.${process.pid}`;
    await rm(fresh, { force: true });
    await symlink(clusterDir, fresh);
    await rename(fresh, link);
  }
  return link;
}

/** Removes what {@link socketDirectory} made, once nothing serves the data any more. */
export async function removeSocketLink(clusterDir: string): Promise<void> {
  if (!fits(clusterDir)) {
    await rm(linkParent(clusterDir), { recursive: true, force: true });
  }
}

function linkParent(clusterDir: string): string {
  const digest = createHash("sha256").update(clusterDir).digest("hex").slice(0, 16);
  const name = `leasehold-${process.getuid?.() ?? 0}-${digest}`;
  const parent = [tmpdir(), "/tmp"].map((root) => join(root, name)).find((path) => fits(join(path, "pg")));
  if (parent === undefined) {
    throw new Error(`no directory is short enough for the unix socket of ${clusterDir}`);
  }
  return parent;
}

function fits(directory: string): boolean {
  return Buffer.byteLength(join(directory, `.s.PGSQL.${socketPort}`)) <= socketPathLimit;
}
