/**
 * Owns where contents of Git LFS are: `lfs/objects/aa/bb/<sha256>` below a mirror, and below a workspace's git directory.
 *
 * Invariant: what is in a mirror's has its name as its SHA-256 and appears whole; it is read-only.
 */
import { createHash } from "node:crypto";
import { closeSync, lstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { asServer } from "../files/holder.js";

export const storeName = "lfs/objects";
const chunk = 1024 * 1024;

/** `git`: a git directory, or a mirror. */
export function lfsPath(git: string, oid: string): string {
  return join(git, storeName, oid.slice(0, 2), oid.slice(2, 4), oid);
}

/** `git`: a mirror. */
export function hasLfsObject(git: string, { oid, size }: { readonly oid: string; readonly size: number }): boolean {
  const stat = asServer(() => lstatSync(lfsPath(git, oid), { throwIfNoEntry: false }));
  return stat?.isFile() === true && stat.size === size;
}

/** SHA-256 of a file that is opened without following a symlink of its name. */
export function fileDigest(path: string | Buffer, flags: number): string {
  const file = openSync(path, flags);
  try {
    const hash = createHash("sha256");
    const buffer = Buffer.allocUnsafe(chunk);
    for (let read = readSync(file, buffer); read > 0; read = readSync(file, buffer))
      hash.update(buffer.subarray(0, read));
    return hash.digest("hex");
  } finally {
    closeSync(file);
  }
}
