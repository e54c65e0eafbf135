/**
 * Owns comparing two trees.
 *
 * Here and not by libgit2, which reads both trees whole (40 ms for 50,000 files): equal subtrees are passed over.
 */
import { bytesOf, type Odb, objectType, readObject } from "./nodegit.js";

const idBytes = 20;
const treeMode = "40000";

export interface TreeDiff {
  /** Byte paths of files that only the old tree has. */
  readonly removed: readonly string[];
  /** Byte paths of files that only the new tree has. */
  readonly added: readonly string[];
  /** Byte paths of files that both have, with other content or another mode. */
  readonly changed: readonly string[];
}

interface Entry {
  readonly mode: string;
  readonly id: string;
}

/** `from` and `to`: ids of trees. */
export async function diffTrees(odb: Odb, from: string, to: string): Promise<TreeDiff> {
  const removed: string[] = [];
  const added: string[] = [];
  const changed: string[] = [];
  const pending: { prefix: string; from: string | undefined; to: string | undefined }[] = [{ prefix: "", from, to }];
  for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
    const { prefix } = pair;
    const [before, after] = await Promise.all([readTree(odb, pair.from), readTree(odb, pair.to)]);
    for (const name of new Set([...before.keys(), ...after.keys()])) {
      const [old, now] = [before.get(name), after.get(name)];
      if (old?.id === now?.id && old?.mode === now?.mode) continue;
      const path = prefix + name;
      const oldTree = old?.mode === treeMode ? old.id : undefined;
      const newTree = now?.mode === treeMode ? now.id : undefined;
      if (oldTree || newTree) pending.push({ prefix: `${path}/`, from: oldTree, to: newTree });
      const oldFile = old !== undefined && oldTree === undefined;
      const newFile = now !== undefined && newTree === undefined;
      if (oldFile && newFile) changed.push(path);
      else if (oldFile) removed.push(path);
      else if (newFile) added.push(path);
    }
  }
  return { removed, added, changed };
}

/** Entries by name (bytes). */
async function readTree(odb: Odb, id: string | undefined): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>();
  if (id === undefined) return entries;
  const object = await readObject(odb, id);
  if (object.type() !== objectType.tree) throw new Error(`${id} is no tree`);
  const bytes = bytesOf(object);
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const end = bytes.indexOf(0, space);
    if (space < 0 || end < 0) throw new Error(`${id} is malformed`);
    const mode = bytes.toString("latin1", at, space);
    const name = bytes.toString("latin1", space + 1, end);
    entries.set(name, { mode, id: bytes.toString("hex", end + 1, end + 1 + idBytes) });
    at = end + 1 + idBytes;
  }
  return entries;
}
