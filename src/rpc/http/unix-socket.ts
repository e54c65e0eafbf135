/**
 * Owns the file of a unix socket.
 *
 * Invariants:
 * 1. A file is removed only if it is a socket on which nobody answers.
 * 2. At no moment may another user connect: the file is made with mode 0600.
 */
import { chmod, lstat, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { isMainThread } from "node:worker_threads";

/** Binds with `bind`, which must make the file before it first yields. */
export async function bindUnixSocket(path: string, bind: () => Promise<void>): Promise<void> {
  await removeStale(path);
  const previous = isMainThread ? process.umask(0o177) : undefined;
  let bound: Promise<void>;
  try {
    bound = bind();
  } finally {
    if (previous !== undefined) process.umask(previous);
  }
  await bound;
  await chmod(path, 0o600);
}

async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (!found) return;
  if (!found.isSocket()) throw new Error(`${path} exists and is no socket`);
  if (await isAnswered(path)) throw new Error(`another server listens on ${path}`);
  await unlink(path);
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" || error.code === "ENOENT") resolve(false);
      else reject(new Error(`cannot tell whether a server listens on ${path}: ${error.code}`));
    });
  });
}
