/**
 * Owns telling what of a commit a checkout alone does not bring: submodules, and files whose contents Git LFS has.
 *
 * Invariants:
 * 1. Everything is read as data from the mirror, every object hashed; nothing is obeyed.
 * 2. A path of `.gitmodules` counts only where the tree has a gitlink, so it can lead nowhere else.
 */
import { join } from "node:path";
import { type CommitContents, conflictingName, nameFault, type Submodule } from "../../../domain/submodule.js";
import type { ExamineJob } from "../../protocol.js";
import { toBytePath } from "../files/byte-path.js";
import { type ModuleEntry, parseGitmodules, parseSettings } from "../modules/gitmodules.js";
import { findLfsFiles } from "../modules/lfs-files.js";
import { Damaged, entryMode, parseCommit, parseTree, type TreeEntry } from "./git-object.js";
import { ObjectStore } from "./object-store.js";

const largestGitmodules = 1024 * 1024;
const mostSubmodules = 1000;
const updates = new Set(["", "none", "checkout", "rebase", "merge"]);

export async function examineCommit({ mirror, commit }: ExamineJob): Promise<CommitContents> {
  const objects = ObjectStore.of(join(mirror, "objects"));
  try {
    const { tree } = parseCommit(objects.read(commit, "commit"));
    const top = parseTree(objects.read(tree, "tree"));
    const lfs = lfsOf(objects, tree, top);
    const file = top.get(".gitmodules");
    if (!file) return { submodules: [], problem: "", ...lfs };
    try {
      return { submodules: readSubmodules(objects, tree, file), problem: "", ...lfs };
    } catch (error) {
      if (!(error instanceof Refused) && !(error instanceof Damaged)) throw error;
      return { submodules: [], problem: error.message, ...lfs };
    }
  } finally {
    objects.close();
  }
}

function lfsOf(objects: ObjectStore, tree: string, top: ReadonlyMap<string, TreeEntry>) {
  const files = findLfsFiles(objects, tree);
  const lfsObjects = [...new Map(files.map(({ oid, size }) => [oid, { oid, size }])).values()];
  const config = files.length > 0 ? top.get(".lfsconfig") : undefined;
  const lfsUrl = config?.mode === entryMode.file ? lfsUrlOf(objects.read(config.id, "blob").toString("utf8")) : "";
  return { lfsFiles: files.length, lfsObjects, lfsUrl };
}

/** What git could not read says nothing. */
function lfsUrlOf(text: string): string {
  try {
    return (
      parseSettings(text).findLast(
        ({ section, subsection, key }) => section === "lfs" && subsection === undefined && key === "url",
      )?.value ?? ""
    );
  } catch (error) {
    if (error instanceof Damaged) return "";
    throw error;
  }
}

/** In words that may be shown. */
class Refused extends Error {
  override readonly name = "Refused";
}

function readSubmodules(objects: ObjectStore, tree: string, file: TreeEntry): Submodule[] {
  if (file.mode !== entryMode.file && file.mode !== entryMode.executable) throw new Refused("it is no regular file");
  const bytes = objects.read(file.id, "blob");
  if (bytes.length > largestGitmodules) throw new Refused("it is too large");
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused("it is not UTF-8");
  }
  const entries = parseGitmodules(text);
  if (entries.length > mostSubmodules) throw new Refused(`it has more than ${mostSubmodules} submodules`);
  // as in git, the last entry for a path holds
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  const found: Submodule[] = [];
  for (const entry of byPath.values()) {
    const commit = gitlinkAt(objects, tree, entry.path);
    if (commit !== undefined) found.push(accepted(entry, commit));
  }
  const conflicting = conflictingName(found.map(({ name }) => name));
  if (conflicting !== undefined) throw new Refused(`submodule ${quoted(conflicting)} lies inside another one`);
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function accepted({ name, path, url, update }: ModuleEntry, commit: string): Submodule {
  const fault = nameFault(name);
  if (fault) throw new Refused(`the name ${quoted(name)} of a submodule ${fault}`);
  if (path.startsWith("-")) throw new Refused(`the path ${quoted(path)} of a submodule begins with '-'`);
  if (!updates.has(update)) throw new Refused(`submodule ${quoted(name)} has an update setting that is not allowed`);
  return { name, path, url, commit, update };
}

/** The commit that the tree has at a path; undefined if there is no gitlink. */
function gitlinkAt(objects: ObjectStore, tree: string, path: string): string | undefined {
  const parts = toBytePath(path).split("/");
  let at = tree;
  for (const [depth, part] of parts.entries()) {
    const entry = parseTree(objects.read(at, "tree")).get(part);
    if (depth === parts.length - 1) return entry?.mode === entryMode.submodule ? entry.id : undefined;
    if (entry?.mode !== entryMode.tree) return undefined;
    at = entry.id;
  }
  return undefined;
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
