/**
 * Owns the two trees of a salvage: of the files as they stand, and of what was staged.
 *
 * Invariant: bytes are saved as they are on disk; no filter, no conversion.
 */
import { chmodSync } from "node:fs";
import { toFsPath } from "../files/byte-path.js";
import { TooLarge } from "../files/inside.js";
import type { Staged } from "../index/staged.js";
import { Damaged, entryMode, isEntryName, type TreeEntry } from "../objects/git-object.js";
import type { History, LimitedPack } from "../objects/history.js";
import { Beyond } from "../objects/history.js";
import { editTree, type TreeAccess } from "./tree-edit.js";
import type { Work } from "./unsaved-work.js";

export interface SavedFiles {
  readonly tree: string;
  /** Newest time of a saved file, in seconds. */
  readonly newest: number;
  /** Byte paths that git would not take, and what they are called in the tree. */
  readonly renamed: ReadonlyMap<string, string>;
}

/** Reads trees that the mirror or the history has, and writes into the pack. */
export function treeAccess(history: History, target: LimitedPack): TreeAccess {
  return {
    read: (id) => {
      const object = history.read(id);
      if (object.kind !== "tree") throw new Damaged(`${id} is no tree`);
      return object.bytes;
    },
    write: (bytes) => target.add({ kind: "tree", bytes }, "a directory"),
  };
}

export function saveFiles(work: Work, history: History, target: LimitedPack): SavedFiles {
  const edits = new Map<string, TreeEntry | undefined>();
  const renamed = new Map<string, string>();
  let newest = 0;
  // Refused before anything is read, where sizes alone tell.
  let expected = 0;
  for (const [path, change] of work.changes) {
    const size = change === "gone" ? 0 : (work.inside.stat(path)?.size ?? 0);
    target.check(size, `file ${path}`);
    expected += size;
  }
  target.checkTotal(expected);
  for (const [path, change] of work.changes) {
    const name = possibleName(path);
    if (name !== path) renamed.set(path, name);
    const entry = change === "gone" ? undefined : saveFile(work, path, target);
    edits.set(name, entry);
    const stat = entry && work.inside.stat(path);
    if (stat) newest = Math.max(newest, Math.floor(stat.mtimeMs / 1000));
  }
  return { tree: editTree(treeAccess(history, target), work.base.tree, edits), newest, renamed };
}

/** Undefined if it has gone in the meantime. */
function saveFile(work: Work, path: string, target: LimitedPack): TreeEntry | undefined {
  const stat = work.inside.stat(path);
  if (stat?.isSymbolicLink()) {
    const bytes = work.inside.readLink(path);
    return bytes && { mode: entryMode.link, id: target.add({ kind: "blob", bytes }, `symlink ${path}`) };
  }
  if (!stat?.isFile()) return undefined;
  const read = (): ReturnType<typeof work.inside.read> => {
    try {
      return work.inside.read(path, stat.size);
    } catch (error) {
      if (error instanceof TooLarge) throw new Beyond(`file ${path} is being written to`);
      throw error;
    }
  };
  let file: ReturnType<typeof read>;
  try {
    file = read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EACCES") throw error;
    const place = toFsPath(`${work.inside.root}/${path}`);
    chmodSync(place, (stat.mode & 0o7777) | 0o400);
    try {
      file = read();
    } finally {
      chmodSync(place, stat.mode & 0o7777);
    }
  }
  if (!file) return undefined;
  const mode = file.stat.mode & 0o100 ? entryMode.executable : entryMode.file;
  return { mode, id: target.add({ kind: "blob", bytes: file.bytes }, `file ${path}`) };
}

/** A path whose every part git takes. */
function possibleName(path: string): string {
  return path
    .split("/")
    .map((name) => (isEntryName(name) ? name : `${name}.salvaged`))
    .join("/");
}

export interface SavedIndex {
  readonly tree: string;
  /** A tree of directories 1, 2 and 3, one for each side of conflicts. */
  readonly conflicts: string | undefined;
}

/** What was staged; entries whose content is missing are left out and named. */
export function saveIndex(
  staged: Staged,
  baseTree: string | undefined,
  history: History,
  target: LimitedPack,
  incomplete: string[],
): SavedIndex {
  const isSaved = (path: string, entry: TreeEntry): boolean => {
    if (entry.mode === entryMode.submodule) return true;
    try {
      history.save(entry.id);
      return true;
    } catch (error) {
      if (!(error instanceof Damaged)) throw error;
      incomplete.push(`staged file ${path}: ${error.message}`);
      return false;
    }
  };
  const edits = new Map<string, TreeEntry | undefined>();
  for (const [path, entry] of staged.edits) {
    if (!entry || isSaved(path, entry)) edits.set(path, entry);
  }
  const trees = treeAccess(history, target);
  const tree = editTree(trees, baseTree, edits);
  const sides = new Map<string, TreeEntry | undefined>();
  for (const entry of staged.conflicts) {
    if (isSaved(entry.path, entry)) sides.set(`${entry.stage}/${entry.path}`, { mode: entry.mode, id: entry.id });
  }
  return { tree, conflicts: sides.size > 0 ? editTree(trees, undefined, sides) : undefined };
}
