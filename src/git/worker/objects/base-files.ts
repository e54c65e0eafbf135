/**
 * Owns what a workspace's files are compared with: the commit that its HEAD is at, told as the trusted index of
 * another commit and the difference between the two.
 *
 * So a workspace whose holder went to another commit costs a comparison of two trees, not a hash of every file.
 */

import type { IndexFile } from "../index/index-file.js";
import { Damaged, entryMode, parseTree, type TreeEntry } from "./git-object.js";
import { diffTrees, type TreeDiff } from "./tree-diff.js";

export class BaseFiles {
  readonly index: IndexFile;
  readonly diff: TreeDiff;
  private readonly tree: string | undefined;
  private readonly read: (id: string) => Buffer;
  private known: Map<string, number> | undefined;

  /** `index` is of the tree `indexTree`; the files are those of `tree`. `read` answers a tree's bytes. */
  constructor(index: IndexFile, indexTree: string | undefined, tree: string | undefined, read: (id: string) => Buffer) {
    this.index = index;
    this.tree = tree;
    this.read = read;
    this.diff = diffTrees(read, indexTree, tree);
  }

  /** What the commit has at a byte path; undefined for nothing. */
  entry(path: string): TreeEntry | undefined {
    const { removed, added, changed } = this.diff;
    const differing = changed.get(path) ?? added.get(path);
    if (differing) return differing;
    const position = removed.has(path) ? undefined : this.positions.get(path);
    return position === undefined ? undefined : this.indexed(position);
  }

  /** The id of the commit's tree at a byte path; undefined if it has no directory there, or one that cannot be read. */
  treeAt(path: string): string | undefined {
    let tree = this.tree;
    try {
      for (const name of path.split("/")) {
        const entry = tree === undefined ? undefined : parseTree(this.read(tree)).get(name);
        tree = entry?.mode === entryMode.tree ? entry.id : undefined;
      }
      return tree;
    } catch (error) {
      if (error instanceof Damaged) return undefined;
      throw error;
    }
  }

  /** Of the index, whatever the commit has there. */
  indexed(position: number): TreeEntry {
    return { mode: this.index.mode(position), id: this.index.id(position) };
  }

  /** Of a byte path in the index. */
  position(path: string): number | undefined {
    return this.positions.get(path);
  }

  /** Whether the commit has something else at a byte path than the index. */
  differs(path: string): boolean {
    const { removed, added, changed } = this.diff;
    return removed.has(path) || added.has(path) || changed.has(path);
  }

  /** Byte paths of the commit, but for positions of the index that are `met`. */
  *unmet(met: Uint8Array): Generator<string> {
    for (const [position, path] of this.index.paths.entries()) {
      if (!met[position] && !this.diff.removed.has(path)) yield path;
    }
    yield* this.diff.added.keys();
  }

  *paths(): Generator<string> {
    for (const path of this.index.paths) {
      if (!this.diff.removed.has(path)) yield path;
    }
    yield* this.diff.added.keys();
  }

  private get positions(): Map<string, number> {
    this.known ??= new Map(this.index.paths.map((path, position) => [path, position]));
    return this.known;
  }
}
