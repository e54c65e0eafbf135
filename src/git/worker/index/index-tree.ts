/**
 * Owns which tree an index adds up to, from its entries alone: what `git write-tree` would answer, without writing.
 */
import { createHash } from "node:crypto";
import type { IndexFile } from "./index-file.js";

const idBytes = 20;
const firstBytes = 1 << 14;

/** The id of the tree. Git's order of entries is the order of the index: a directory sorts as if its name ended with a slash. */
export function treeOfIndex(index: IndexFile): string {
  let tree = new OpenTree("");
  const above: OpenTree[] = [];
  const close = (): void => {
    const id = tree.id();
    const { path } = tree;
    tree = above.pop() as OpenTree;
    tree.add("40000 ", path, path.length - 1);
    tree.bytes.set(id, tree.length - idBytes);
  };
  const modes = new Map<number, string>();
  for (const [position, path] of index.paths.entries()) {
    while (!path.startsWith(tree.path)) close();
    for (let slash = path.indexOf("/", tree.path.length); slash >= 0; slash = path.indexOf("/", slash + 1)) {
      above.push(tree);
      tree = new OpenTree(path.slice(0, slash + 1));
    }
    const mode = index.mode(position);
    const text = modes.get(mode) ?? `${mode.toString(8)} `;
    modes.set(mode, text);
    tree.add(text, path, path.length);
    index.copyId(position, tree.bytes, tree.length - idBytes);
  }
  while (above.length > 0) close();
  return tree.id().toString("hex");
}

/** A tree whose entries are still coming. Written byte by byte: there are too many entries for a buffer for each. */
class OpenTree {
  /** Byte path with a slash at its end; empty at the top. */
  readonly path: string;
  bytes = Buffer.allocUnsafe(firstBytes);
  length = 0;
  constructor(path: string) {
    this.path = path;
  }

  /** Adds what is at a byte path, up to `end`; the last 20 bytes are left for its id. */
  add(mode: string, path: string, end: number): void {
    const begin = this.path.length;
    const wanted = this.length + mode.length + (end - begin) + 1 + idBytes;
    if (wanted > this.bytes.length) {
      const larger = Buffer.allocUnsafe(wanted * 2);
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
    const { bytes } = this;
    let at = this.length;
    for (let from = 0; from < mode.length; from++) bytes[at++] = mode.charCodeAt(from);
    for (let from = begin; from < end; from++) bytes[at++] = path.charCodeAt(from);
    bytes[at] = 0;
    this.length = wanted;
  }

  id(): Buffer {
    const bytes = this.bytes.subarray(0, this.length);
    return createHash("sha1").update(`tree ${bytes.length}\0`).update(bytes).digest();
  }
}
