/**
 * Owns comparing a directory with what was checked out there: one `lstat` per file, against a trusted index.
 *
 * Invariants:
 * 1. No symlink is followed: only what `lstat` calls a directory is entered, and nothing below anything else is looked at.
 * 2. A file counts as untouched only if kind, size, inode, owner, link count, mtime and ctime are as they were when
 *    it was written. No program can set ctime, so an edit whose mtime was put back is seen.
 * 3. Files written in the clock tick of the trusted copy are compared by content: a later edit could bear that time.
 * 4. A `.git` at the top is passed over; everything else that is not in the index is a stranger.
 */
import { createHash } from "node:crypto";
import { chmodSync, lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { toBytePath, toFsPath } from "../files/byte-path.js";
import type { IndexFile, IndexStat } from "../index/index-file.js";
import { isSubmodule } from "../objects/git-object.js";

const quietly = { throwIfNoEntry: false } as const;

/** Bytes of a file that is compared by content; a larger one counts as another. */
const mostCompared = 1024 ** 3;

/** File kinds in git's modes. */
export const fileKind = { mask: 0o170000, symlink: 0o120000 } as const;

export interface Comparison {
  /** Topmost byte paths that are not in the index: files of any kind, and directories with all below. */
  readonly strangers: readonly string[];
  /** Positions in the index of files that are not there, or not as a file in a real directory. */
  readonly missing: readonly number[];
  /** Positions in the index of files that are there and may have changed. */
  readonly altered: readonly number[];
  /** Byte paths of the directories that were entered: the workspace itself, empty, and all that the index has. */
  readonly directories: readonly string[];
  /** Directories (byte paths) with other permissions than a checkout gives, and what they had. */
  readonly oddDirectories: readonly OddDirectory[];
  /** Byte paths of submodules whose (empty) directory is missing. */
  readonly missingSubmodules: readonly string[];
}

export interface OddDirectory {
  readonly path: string;
  readonly mode: number;
}

/** A directory of the index that is there. */
interface Entered {
  readonly names: readonly string[];
  /** How many of the names are expected. */
  expected: number;
}

/** `trustedMs`: when the trusted copy of the index was written, by the clock of its file. */
export function compareWorkingTree(root: string, index: IndexFile, trustedMs: number): Comparison {
  const base = `${toBytePath(root)}/`;
  const directoryMode = directoryModeIn(root);
  const directories: string[] = [];
  const oddDirectories: OddDirectory[] = [];
  const missing: number[] = [];
  const altered: number[] = [];
  const missingSubmodules: string[] = [];
  /** By byte path; undefined where something else, or nothing, stands. */
  const entered = new Map<string, Entered | undefined>();

  const look = (path: string): Entered | undefined => {
    const place = toFsPath(base + path);
    const stat = lstatSync(place, quietly);
    if (!stat?.isDirectory()) return undefined;
    const mode = stat.mode & 0o7777;
    directories.push(path);
    if (mode !== directoryMode) oddDirectories.push({ path, mode });
    // One that cannot be read is opened to be looked at; `restoreModes` undoes that.
    if ((mode & 0o500) !== 0o500) chmodSync(place, mode | 0o700);
    return { names: readdirSync(place, { encoding: "latin1" }), expected: 0 };
  };
  /** Enters the directories above first, so that nothing is looked at through one that is none. */
  const enter = (path: string): Entered | undefined => {
    if (entered.has(path)) return entered.get(path);
    const above = path === "" ? undefined : enter(directoryOf(path));
    const directory = path === "" || above ? look(path) : undefined;
    if (above && directory) above.expected += 1;
    entered.set(path, directory);
    return directory;
  };

  let last = "";
  let directory = enter("");
  for (const [position, path] of index.paths.entries()) {
    const slash = path.lastIndexOf("/");
    if (slash !== last.length || !path.startsWith(last)) {
      last = path.slice(0, Math.max(slash, 0));
      directory = enter(last);
    }
    if (isSubmodule(index.mode(position))) {
      if (!enter(path)) missingSubmodules.push(path);
      continue;
    }
    const now = directory && lstatSync(toFsPath(base + path), quietly);
    if (!directory || !now || now.isDirectory()) missing.push(position);
    else {
      directory.expected += 1;
      if (!isUntouched(toFsPath(base + path), now, index, position, trustedMs)) altered.push(position);
    }
  }
  const strangers = findStrangers(index, entered, missing);
  return { strangers, missing, altered, directories, oddDirectories, missingSubmodules };
}

/** Only directories with more names than are expected of them are gone through by name. */
function findStrangers(
  index: IndexFile,
  entered: ReadonlyMap<string, Entered | undefined>,
  missing: readonly number[],
): string[] {
  const expected = new Map<string, Set<string>>();
  for (const [path, directory] of entered) {
    const own = path === "" ? [".git"] : [];
    if (directory && directory.names.length > directory.expected) expected.set(path, new Set(own));
  }
  if (expected.size === 0) return [];
  const expect = (path: string): void => void expected.get(directoryOf(path))?.add(nameOf(path));
  for (const path of index.paths) expect(path);
  // A directory in place of a file is a stranger, and so is what stands in place of a directory.
  for (const position of missing) {
    const path = index.paths[position] as string;
    expected.get(directoryOf(path))?.delete(nameOf(path));
  }
  for (const [path, directory] of entered) {
    if (path === "") continue;
    if (directory) expect(path);
    else expected.get(directoryOf(path))?.delete(nameOf(path));
  }
  const strangers: string[] = [];
  for (const [path, names] of expected) {
    for (const name of entered.get(path)?.names ?? []) {
      if (!names.has(name)) strangers.push(path === "" ? name : `${path}/${name}`);
    }
  }
  return strangers;
}

function directoryOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 0));
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Gives directories the permissions that a checkout gives. Those that have them as well: an immutable one refuses. */
export function correctModes(root: string, directories: readonly string[]): void {
  const mode = directoryModeIn(root);
  for (const path of directories) chmodSync(toFsPath(`${toBytePath(root)}/${path}`), mode);
}

/** A directory inherits the set-group bit of the one above. */
function directoryModeIn(root: string): number {
  return (0o777 & ~process.umask()) | (lstatSync(dirname(root)).mode & 0o2000);
}

/** Undoes what `compareWorkingTree` did to directories that it could not read. */
export function restoreModes(root: string, odd: readonly OddDirectory[]): void {
  for (const { path, mode } of odd) {
    if ((mode & 0o500) !== 0o500) chmodSync(toFsPath(`${toBytePath(root)}/${path}`), mode);
  }
}

/** Invariants 2 and 3. */
function isUntouched(
  path: string | Buffer,
  now: Stats,
  index: IndexFile,
  position: number,
  trustedMs: number,
): boolean {
  const then = index.stat(position);
  if (!hasStat(now, then, index.mode(position))) return false;
  return isBefore(then, trustedMs) || hasContent(path, now, index.id(position));
}

/** Whether the trusted index vouches for a file by its stat alone. */
export function isVouched(now: Stats, index: IndexFile, position: number, trustedMs: number): boolean {
  const then = index.stat(position);
  return hasStat(now, then, index.mode(position)) && isBefore(then, trustedMs);
}

function isBefore(then: IndexStat, trustedMs: number): boolean {
  return Math.max(then.ctimeMs, then.mtimeMs) < trustedMs;
}

function hasStat(now: Stats, then: IndexStat, mode: number): boolean {
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
    now.gid === then.gid
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
