/**
 * Owns making a tree from another one and the paths that differ.
 *
 * Invariant: only the trees on the way to a path that differs are read and written.
 */
import { entryMode, formatTree, parseTree, type TreeEntry } from "../objects/git-object.js";

/** What is to be at byte paths; undefined takes away what is there. What is below a path wins over the path itself. */
export type TreeEdits = ReadonlyMap<string, TreeEntry | undefined>;

export interface TreeAccess {
  /** The bytes of a tree. */
  read(id: string): Buffer;
  /** Stores a tree and answers its id. */
  write(bytes: Buffer): string;
}

/** The id of the new tree. `base` is undefined for none. */
export function editTree(access: TreeAccess, base: string | undefined, edits: TreeEdits): string {
  return edit(access, base, [...edits], 0) ?? access.write(Buffer.alloc(0));
}

/** `begin`: where the names of this level begin in the paths. Undefined if the tree would be empty. */
function edit(
  access: TreeAccess,
  base: string | undefined,
  edits: readonly (readonly [string, TreeEntry | undefined])[],
  begin: number,
): string | undefined {
  if (edits.length === 0 && base !== undefined) return base;
  const entries = base === undefined ? new Map<string, TreeEntry>() : parseTree(access.read(base));
  const below = new Map<string, [string, TreeEntry | undefined][]>();
  for (const [path, entry] of edits) {
    const slash = path.indexOf("/", begin);
    const name = path.slice(begin, slash < 0 ? undefined : slash);
    if (slash >= 0) {
      const list = below.get(name);
      if (list) list.push([path, entry]);
      else below.set(name, [[path, entry]]);
    } else if (entry) entries.set(name, entry);
    else entries.delete(name);
  }
  for (const [name, list] of below) {
    const there = entries.get(name);
    const tree = there?.mode === entryMode.tree ? there.id : undefined;
    // What is taken away below a file or a submodule was not there.
    if (there && tree === undefined && list.every(([, entry]) => entry === undefined)) continue;
    const id = edit(access, tree, list, begin + name.length + 1);
    if (id === undefined) entries.delete(name);
    else entries.set(name, { mode: entryMode.tree, id });
  }
  return entries.size === 0 ? undefined : access.write(formatTree(entries));
}
