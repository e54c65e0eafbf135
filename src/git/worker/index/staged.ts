/** Owns what a holder's index has that its commit has not: data to look at, never to obey. */
import type { BaseFiles } from "../objects/base-files.js";
import { entryMode, isEntryName, type TreeEntry } from "../objects/git-object.js";
import { fileKind } from "../workspace/working-tree.js";
import type { IndexFile } from "./index-file.js";

/** One side of a conflict. */
export interface ConflictEntry extends TreeEntry {
  readonly path: string;
  /** 1 the common ancestor, 2 ours, 3 theirs. */
  readonly stage: number;
}

export interface Staged {
  /** Paths whose entry differs from the commit's; undefined where the index has none. */
  readonly edits: Map<string, TreeEntry | undefined>;
  readonly conflicts: readonly ConflictEntry[];
  /** Byte paths that the index has and the commit has not. */
  readonly added: ReadonlySet<string>;
  /** Names that no tree can have were passed over. */
  readonly impossible: boolean;
}

export function findStaged(index: IndexFile, base: BaseFiles): Staged {
  const edits = new Map<string, TreeEntry | undefined>();
  const conflicts: ConflictEntry[] = [];
  const added = new Set<string>();
  const seen = new Set<string>();
  const { index: trusted } = base;
  const met = new Uint8Array(trusted.length);
  let next = 0;
  const covered: string[] = [];
  let impossible = false;
  for (const [position, path] of index.paths.entries()) {
    // Both are in the same order but for what differs.
    if (trusted.paths[next] !== path) next = base.position(path) ?? next;
    if (trusted.paths[next] === path) {
      met[next] = 1;
      next += 1;
      if (!base.differs(path) && index.isSame(position, trusted, next - 1)) continue;
    }
    const mode = index.mode(position);
    const id = index.id(position);
    const stage = index.stage(position);
    const kind = mode & fileKind.mask;
    if (kind === entryMode.tree) {
      // A whole directory of a sparse index: its tree is the commit's, or else it is saved as it is.
      const directory = path.replace(/\/$/, "");
      covered.push(`${directory}/`);
      if (!isPossible(directory)) impossible = true;
      else if (base.treeAt(directory) !== id) edits.set(directory, { mode: entryMode.tree, id });
      continue;
    }
    seen.add(path);
    const was = base.entry(path);
    if (!was) added.add(path);
    if (stage === 0 && was?.id === id && was.mode === mode) continue;
    if (index.isIntent(position)) continue;
    if (!isPossible(path) || !isKnownMode(mode)) {
      impossible = true;
      continue;
    }
    if (stage > 0) conflicts.push({ path, stage, mode, id });
    // A tree has one entry for a path: ours, before theirs, before the ancestor.
    if (stage === 0 || !edits.has(path) || stage === 2) edits.set(path, { mode, id });
  }
  for (const path of base.unmet(met)) {
    if (!seen.has(path) && !covered.some((directory) => path.startsWith(directory))) edits.set(path, undefined);
  }
  return { edits, conflicts, added, impossible };
}

/** Whether git takes every part of it as a name. */
export function isPossible(path: string): boolean {
  return path.split("/").every(isEntryName);
}

export function isKnownMode(mode: number): boolean {
  const { file, executable, link, submodule } = entryMode;
  return mode === file || mode === executable || mode === link || mode === submodule;
}
