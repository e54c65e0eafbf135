/**
 * Owns the trusted copy of a workspace's index: kept outside the workspace, where no holder can write.
 *
 * Invariants:
 * 1. It is written after the last file of the workspace and before anybody gets it, so a later change of a file bears
 *    a time that is not before the copy's own.
 * 2. It names the commit that it is of, in the same file, so that no crash can part them: after the index' own bytes
 *    come 40 digits.
 */
import { lstatSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { asHolder, asServer } from "../files/holder.js";
import { isFile } from "../files/place.js";
import { replaceUnsynced } from "../files/replace-file.js";
import { isObjectId } from "../mirror/refs.js";
import { verifyChecksum } from "./index-file.js";

const commitDigits = 40;

export interface TrustedIndex {
  /** The index, its checksum verified. */
  readonly bytes: Buffer;
  readonly commit: string;
  /** When the copy was written, by the clock of its file. */
  readonly writtenMs: number;
}

/** `commit`: what is checked out at `path`; empty for a repository without commits, which has no index. */
export function saveTrustedIndex(path: string, commit: string, trustedIndex: string): void {
  const index = indexPath(path);
  const bytes = commit === "" ? undefined : asHolder(() => (isFile(index) ? readFileSync(index) : undefined));
  if (!bytes) return removeTrustedIndex(trustedIndex);
  asServer(() => replaceUnsynced(trustedIndex, Buffer.concat([bytes, Buffer.from(commit, "latin1")])));
}

/** Undefined if there is none, or it is damaged. */
export function readTrustedIndex(trustedIndex: string): TrustedIndex | undefined {
  return asServer(() => readIndex(trustedIndex));
}

function readIndex(trustedIndex: string): TrustedIndex | undefined {
  const stat = lstatSync(trustedIndex, { throwIfNoEntry: false });
  if (!stat?.isFile()) return undefined;
  const file = readFileSync(trustedIndex);
  const end = Math.max(file.length - commitDigits, 0);
  const commit = file.toString("latin1", end);
  const bytes = file.subarray(0, end);
  if (!isObjectId(commit)) return undefined;
  try {
    verifyChecksum(bytes);
  } catch {
    return undefined;
  }
  return { bytes, commit, writtenMs: stat.mtimeMs };
}

export function removeTrustedIndex(trustedIndex: string): void {
  rmSync(trustedIndex, { force: true });
  rmSync(trustedModules(trustedIndex), { recursive: true, force: true });
}

/** The directory of what is known of its submodules (trusted-modules.ts). */
export function trustedModules(trustedIndex: string): string {
  return `${trustedIndex}.modules`;
}

/** Where git keeps the index of the workspace at `path`. */
export function indexPath(path: string): string {
  return join(path, ".git", "index");
}
