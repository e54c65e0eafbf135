/**
 * Owns the trusted copy of a workspace's index: kept outside the workspace, where no holder can write.
 *
 * Invariant: it is written after the last file of the workspace and before anybody gets it, so a later change of a
 * file bears a time that is not before the copy's own.
 */
import { lstatSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { verifyChecksum } from "./index-file.js";
import { isFile } from "./place.js";
import { replaceByCopy } from "./replace-file.js";

export interface TrustedIndex {
  readonly bytes: Buffer;
  /** When the copy was written, by the clock of its file. */
  readonly writtenMs: number;
}

export function saveTrustedIndex(path: string, trustedIndex: string): void {
  const index = indexPath(path);
  if (isFile(index)) replaceByCopy(index, trustedIndex);
  else rmSync(trustedIndex, { force: true });
}

/** Undefined if there is none: the repository had no commits, or the copy was lost. */
export function readTrustedIndex(trustedIndex: string): TrustedIndex | undefined {
  const stat = lstatSync(trustedIndex, { throwIfNoEntry: false });
  return stat?.isFile() ? { bytes: readFileSync(trustedIndex), writtenMs: stat.mtimeMs } : undefined;
}

/** Throws if the copy is missing or damaged. */
export function readVerifiedIndex(trustedIndex: string): Buffer {
  const bytes = readFileSync(trustedIndex);
  verifyChecksum(bytes);
  return bytes;
}

/** Where git keeps the index of the workspace at `path`. */
export function indexPath(path: string): string {
  return join(path, ".git", "index");
}
