/**
 * Owns comparing a directory with what was checked out there: one `lstat` per file, against a trusted index.
 *
 * Invariants:
 * 1. No symlink is followed: only what `readdir` calls a directory is entered.
 * 2. A file counts as untouched only if kind, size, inode, owner, link count, mtime and ctime are as they were when
 *    it was written. No program can set ctime, so an edit whose mtime was put back is seen.
 * 3. Files written in the clock tick of the trusted copy are compared by content: a later edit could bear that time.
 * 4. A `.git` at the top is passed over; everything else that is not in the index is a stranger.
 */
import { createHash } from "node:crypto";
import { chmodSync, lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from "node:fs";
import { toBytePath, toFsPath } from "./byte-path.js";
import type { IndexFile } from "./index-file.js";

/** Bytes of a file that is compared by content; a larger one counts as another. */
const mostCompared = 1024 ** 3;

/** File kinds in git's modes. */
export const fileKind = { mask: 0o170000, symlink: 0o120000, submodule: 0o160000 } as const;

export interface Comparison {
  /** Topmost byte paths that are not in the index: files of any kind, and directories with all below. */
  readonly strangers: readonly string[];
  /** Positions in the index of files that are not there, or not as a file in a real directory. */
  readonly missing: readonly number[];
  /** Positions in the index of files that are there and may have changed. */
  readonly altered: readonly number[];
  /** Directories (byte paths) with other permissions than a checkout gives, and what they had. */
  readonly oddDirectories: readonly OddDirectory[];
  /** Byte paths of submodules whose (empty) directory is missing. */
  readonly missingSubmodules: readonly string[];
}

export interface OddDirectory {
  readonly path: string;
  readonly mode: number;
}

interface Expected {
  readonly files: ReadonlyMap<string, number>;
  readonly directories: ReadonlySet<string>;
  readonly submodules: ReadonlySet<string>;
}

/** `trustedMs`: when the trusted copy of the index was written, by the clock of its file. */
export function compareWorkingTree(root: string, index: IndexFile, trustedMs: number): Comparison {
  const expected = expect(index);
  const base = `${toBytePath(root)}/`;
  const directoryMode = 0o777 & ~process.umask();
  const strangers: string[] = [];
  const oddDirectories: OddDirectory[] = [];
  const missing: number[] = [];
  const altered: number[] = [];
  const met = new Uint8Array(index.length);
  const foundSubmodules = new Set<string>();
  const pending = [""];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    const prefix = directory === "" ? "" : `${directory}/`;
    const path = toFsPath(base + directory);
    const mode = lstatSync(path).mode & 0o7777;
    if (mode !== directoryMode) oddDirectories.push({ path: directory, mode });
    // One that cannot be read is opened to be looked at; `restoreModes` undoes that.
    if ((mode & 0o500) !== 0o500) chmodSync(path, mode | 0o700);
    for (const entry of readdirSync(path, { withFileTypes: true, encoding: "latin1" as "utf8" })) {
      const name = prefix + entry.name;
      if (name === ".git") continue;
      if (entry.isDirectory()) {
        if (expected.submodules.has(name)) foundSubmodules.add(name);
        if (expected.directories.has(name)) pending.push(name);
        else strangers.push(name);
        continue;
      }
      const position = expected.files.get(name);
      if (position === undefined) strangers.push(name);
      else {
        met[position] = 1;
        if (!isUntouched(toFsPath(base + name), index, position, trustedMs)) altered.push(position);
      }
    }
  }
  for (let position = 0; position < index.length; position++) {
    if (!met[position] && !isSubmodule(index, position)) missing.push(position);
  }
  const missingSubmodules = [...expected.submodules].filter((name) => !foundSubmodules.has(name));
  return { strangers, missing, altered, oddDirectories, missingSubmodules };
}

/** Gives directories the permissions that a checkout gives. */
export function correctModes(root: string, odd: readonly OddDirectory[]): void {
  const mode = 0o777 & ~process.umask();
  for (const { path } of odd) chmodSync(toFsPath(`${toBytePath(root)}/${path}`), mode);
}

/** Undoes what `compareWorkingTree` did to directories that it could not read. */
export function restoreModes(root: string, odd: readonly OddDirectory[]): void {
  for (const { path, mode } of odd) {
    if ((mode & 0o500) !== 0o500) chmodSync(toFsPath(`${toBytePath(root)}/${path}`), mode);
  }
}

function expect(index: IndexFile): Expected {
  const files = new Map<string, number>();
  const directories = new Set<string>();
  const submodules = new Set<string>();
  let last = "";
  index.paths.forEach((path, position) => {
    let parent = path.slice(0, Math.max(path.lastIndexOf("/"), 0));
    if (isSubmodule(index, position)) {
      submodules.add(path);
      parent = path;
    } else files.set(path, position);
    if (parent === last) return;
    last = parent;
    for (let above = parent; above !== "" && !directories.has(above); ) {
      directories.add(above);
      above = above.slice(0, Math.max(above.lastIndexOf("/"), 0));
    }
  });
  return { files, directories, submodules };
}

function isSubmodule(index: IndexFile, position: number): boolean {
  return (index.mode(position) & fileKind.mask) === fileKind.submodule;
}

/** Invariants 2 and 3. */
function isUntouched(path: string | Buffer, index: IndexFile, position: number, trustedMs: number): boolean {
  const now = lstatSync(path, { throwIfNoEntry: false });
  if (!now) return false;
  const then = index.stat(position);
  const mode = index.mode(position);
  const sameKind =
    (mode & fileKind.mask) === fileKind.symlink ? now.isSymbolicLink() : now.isFile() && sameExecutable(now, mode);
  return (
    sameKind &&
    now.ctimeMs === then.ctimeMs &&
    now.mtimeMs === then.mtimeMs &&
    now.nlink === 1 &&
    now.ino % 2 ** 32 === then.ino &&
    now.size % 2 ** 32 === then.size &&
    now.uid === then.uid &&
    now.gid === then.gid &&
    (Math.max(then.ctimeMs, then.mtimeMs) < trustedMs || hasContent(path, now, index.id(position)))
  );
}

export function sameExecutable(now: Stats, mode: number): boolean {
  return ((now.mode & 0o100) !== 0) === ((mode & 0o100) !== 0);
}

/** Whether the bytes of the file (or the symlink's target), unfiltered, are the blob `id`. */
export function hasContent(path: string | Buffer, stat: Stats, id: string): boolean {
  if (stat.size > mostCompared) return false;
  const bytes = stat.isSymbolicLink() ? readlinkSync(path, "buffer") : readFileSync(path);
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex") === id;
}
