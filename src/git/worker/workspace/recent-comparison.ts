/**
 * Owns handing the comparison of a working tree from salvage to the cleaning that follows, in the same worker, so that
 * files are looked at once for both. Verification looks for itself.
 *
 * Invariants:
 * 1. It is given once, for the same directory, the same trusted index, and for seconds only.
 * 2. Its directories are looked at again: where one is a directory no more, there is none to be had.
 */
import { lstatSync } from "node:fs";
import { toBytePath, toFsPath } from "../files/byte-path.js";
import type { IndexFile } from "../index/index-file.js";
import type { Comparison } from "./working-tree.js";

export interface Compared {
  readonly index: IndexFile;
  readonly comparison: Comparison;
}

interface Remembered extends Compared {
  readonly directory: string;
  readonly trusted: Buffer;
  readonly atMs: number;
}

/** As long as settling a salvage may take. */
const longestMs = 10_000;

let last: Remembered | undefined;

/** `trusted`: the bytes of the trusted index. */
export function rememberComparison(path: string, trusted: Buffer, compared: Compared): void {
  const directory = identify(path);
  last = directory === undefined ? undefined : { ...compared, directory, trusted, atMs: performance.now() };
}

export function takeComparison(path: string, trusted: Buffer): Compared | undefined {
  const found = last;
  last = undefined;
  if (!found || performance.now() - found.atMs > longestMs) return undefined;
  if (found.directory !== identify(path) || !found.trusted.equals(trusted)) return undefined;
  const root = toBytePath(path);
  const isReal = (name: string): boolean => {
    try {
      return lstatSync(toFsPath(`${root}/${name}`)).isDirectory();
    } catch {
      return false;
    }
  };
  return found.comparison.directories.every(isReal) ? found : undefined;
}

/** The same under another name. */
function identify(path: string): string | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat && `${stat.dev}:${stat.ino}`;
}
