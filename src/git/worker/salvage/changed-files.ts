/**
 * Owns which files of a workspace differ from its commit's.
 *
 * Invariant: a file is passed over only if its stat is the trusted one or its bytes are the commit's, also after
 * the conversions that the commit asks for.
 */

import { type Inside, TooLarge } from "../files/inside.js";
import type { BaseFiles } from "../objects/base-files.js";
import { entryMode, isSubmodule, objectId, type TreeEntry } from "../objects/git-object.js";
import { type Candidate, findConverted } from "../workspace/conversion.js";
import type { Comparison } from "../workspace/working-tree.js";
import type { UntrackedWalk } from "./untracked.js";

/** Bytes of a file that are compared; a larger one counts as changed. */
const mostCompared = 256 * 1024 * 1024;
/** Bytes of all files that are converted for it: each is written once. */
const mostConverted = 4 * 1024 ** 3;

/** Bytes of all files that are compared; beyond, they count as changed. */
export class CompareBudget {
  bytes = 16 * 1024 ** 3;
}

export type Change = "changed" | "gone" | "untracked";

export interface ChangedFiles {
  /** By byte path. */
  readonly changes: ReadonlyMap<string, Change>;
  /** Byte paths where the commit has a file and a pipe, socket or device stands. */
  readonly special: readonly string[];
}

/** `work`: an absent directory; `isLfs`: whether a file is the content that a pointer names. */
export async function findChanges(
  inside: Inside,
  base: BaseFiles,
  comparison: Comparison,
  walk: UntrackedWalk,
  readBlob: (id: string) => Buffer,
  work: string,
  isLfs: (path: string, blob: string) => boolean,
): Promise<ChangedFiles> {
  const changes = new Map<string, Change>();
  const special: string[] = [];
  const differing: string[] = [];
  const budget = new CompareBudget();

  /** Compares what is at a path with what the commit has there. */
  const compare = (path: string, was: TreeEntry): void => {
    const now = currentEntry(inside, path, budget);
    if (now === undefined) {
      changes.set(path, "gone");
      const stat = inside.stat(path);
      // what is found through a symlink in place of a directory above is not there
      if (stat && !stat.isFile() && !stat.isDirectory() && !stat.isSymbolicLink()) special.push(path);
    } else if (now.mode !== was.mode) changes.set(path, "changed");
    else if (now.id !== was.id && !isLfs(path, was.id)) differing.push(path);
  };

  const { removed, added, changed } = base.diff;
  const looked = new Set<number>([...comparison.altered, ...comparison.missing]);
  const missing = new Set<number>(comparison.missing);
  for (const position of looked) {
    const path = base.index.paths[position] as string;
    const was = base.entry(path);
    if (was && isSubmodule(was.mode)) {
      // a file in a submodule's place is no part of the submodule
      if (currentEntry(inside, path, budget)) changes.set(path, "changed");
    } else if (was) compare(path, was);
    else if (!missing.has(position)) walk.offer(path);
  }
  if (removed.size + changed.size > 0) {
    for (const [position, path] of base.index.paths.entries()) {
      if (looked.has(position) || isSubmodule(base.index.mode(position))) continue;
      if (changed.has(path)) changes.set(path, "changed");
      else if (removed.has(path)) walk.offer(path);
    }
  }
  const met = new Set<string>();
  for (const path of walk.files) {
    const was = added.get(path);
    if (was && !isSubmodule(was.mode)) {
      met.add(path);
      compare(path, was);
    } else changes.set(path, "untracked");
  }
  for (const [path, was] of added) {
    if (!met.has(path) && !isSubmodule(was.mode)) changes.set(path, "gone");
  }
  const converted = await findConverted(readAll(inside, differing), base, readBlob, work);
  for (const path of differing) {
    if (!converted.has(path)) changes.set(path, "changed");
  }
  return { changes, special };
}

/** What a file or symlink would be in a tree, without id if it is not compared; undefined if there is neither. */
export function currentEntry(inside: Inside, path: string, budget: CompareBudget): TreeEntry | undefined {
  const stat = inside.stat(path);
  if (stat?.isSymbolicLink()) {
    const target = inside.readLink(path);
    return target && { mode: entryMode.link, id: objectId("blob", target) };
  }
  if (!stat?.isFile()) return undefined;
  const mode = stat.mode & 0o100 ? entryMode.executable : entryMode.file;
  try {
    const read = inside.read(path, Math.min(mostCompared, budget.bytes));
    budget.bytes -= read?.bytes.length ?? 0;
    return read && { mode, id: objectId("blob", read.bytes) };
  } catch (error) {
    if (error instanceof TooLarge) return { mode, id: "" };
    throw error;
  }
}

function* readAll(inside: Inside, paths: readonly string[]): Generator<Candidate> {
  let left = mostConverted;
  for (const path of paths) {
    const most = Math.min(mostCompared, left);
    const stat = inside.stat(path);
    if (!stat?.isFile() || stat.size > most) continue;
    const read = inside.read(path, stat.size);
    left -= read?.bytes.length ?? 0;
    if (read) yield { path, bytes: read.bytes };
  }
}
