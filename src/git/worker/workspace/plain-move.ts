/**
 * Owns moving a clean workspace by few plain files, without libgit2, which reads, compares and writes the whole index
 * several times for them (a third of a second for 50,000 files).
 *
 * Invariants:
 * 1. Nothing was touched where the answer is false: then libgit2 has to do it. So wherever a name, a kind of entry, an
 *    attribute or the index itself is out of the ordinary.
 * 2. Only files that the old commit has are unlinked, only files that are missing are written (never through a link).
 * 3. The index has what `lstat` told of each file after it was written; it is written last.
 */
import { createHash } from "node:crypto";
import { type BigIntStats, lstatSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { removeFiles } from "../files/remove-files.js";
import { IndexEdit } from "../index/index-edit.js";
import { indexPath } from "../index/trusted-index.js";
import { entryMode, parseCommit, type TreeEntry } from "../objects/git-object.js";
import { ObjectStore } from "../objects/object-store.js";
import { diffTrees, type TreeDiff } from "../objects/tree-diff.js";
import { isAttributesFile, isConverting } from "./attributes.js";

/** More files are written faster by libgit2's threads. */
const mostFiles = 1_000;

/** Moves the workspace, whose index is that of `from`, or answers false. */
export function movePlainly(path: string, from: string, to: string): boolean {
  const index = IndexEdit.of(readFileSync(indexPath(path)));
  if (!index) return false;
  // what belongs to a submodule is another's to place, wherever it changed
  if (index.hasSubmodules() || index.entriesNamed(".gitmodules").length > 0) return false;
  const objects = ObjectStore.ofWorkspace(path);
  try {
    const treeOf = (commit: string) => parseCommit(objects.read(commit, "commit")).tree;
    const isConverted = index.entriesNamed(".gitattributes").some((id) => isConverting(objects.read(id, "blob")));
    if (isConverted) return false;
    const diff = diffTrees((id) => objects.read(id, "tree"), treeOf(from), treeOf(to));
    if (!isPlain(diff, index)) return false;
    removeFiles(path, [...diff.removed.keys(), ...diff.changed.keys()]);
    for (const name of diff.removed.keys()) index.remove(name);
    for (const [name, entry] of diff.changed) index.change(name, entry, write(path, name, entry, objects));
    for (const [name, entry] of diff.added) index.add(name, entry, write(path, name, entry, objects));
    writeFileSync(indexPath(path), signed(index.content()));
    return true;
  } finally {
    objects.close();
  }
}

function isPlain({ removed, changed, added }: TreeDiff, index: IndexEdit): boolean {
  const written = [...changed, ...added];
  return (
    written.length + removed.size < mostFiles &&
    [...removed, ...written].every(([name, entry]) => isPlainName(name) && isPlainFile(entry)) &&
    [...removed.keys(), ...changed.keys()].every((name) => index.has(name) && isPlainFile(index.entry(name))) &&
    [...added.keys()].every((name) => !index.has(name))
  );
}

function isPlainFile({ mode }: TreeEntry): boolean {
  return mode === entryMode.file || mode === entryMode.executable;
}

/** No name that any system could take for another, above all for `.git`. */
function isPlainName(name: string): boolean {
  return (
    /^[\w./+@=,#-]+$/.test(name) &&
    !/(^|\/)(\.\.?|\.git)(\/|$)/i.test(name) &&
    !isAttributesFile(name) &&
    name !== ".gitmodules"
  );
}

function write(root: string, name: string, { id, mode }: TreeEntry, objects: ObjectStore): BigIntStats {
  const file = join(root, name);
  const options = { flag: "wx", mode: mode & 0o777 };
  const content = objects.read(id, "blob");
  try {
    writeFileSync(file, content, options);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content, options);
  }
  return lstatSync(file, { bigint: true });
}

function signed(content: Buffer): Buffer {
  return Buffer.concat([content, createHash("sha1").update(content).digest()]);
}
