/**
 * Owns which tree an index adds up to, from its entries alone: what `git write-tree` would answer, without writing.
 */
import { createHash } from "node:crypto";
import type { IndexFile } from "./index-file.js";

const idBytes = 20;
const firstBytes = 1 << 14;

/** The id of the tree. Git's order of entries is the order of the index: a directory sorts as if its name ended with a slash. */
export function treeOfIndex(index: IndexFile): string {
  const open = [new OpenTree("")];
  const last = (): OpenTree => open.at(-1) as OpenTree;
  const closeLast = (): void => {
    const { path, id } = open.pop() as OpenTree;
    const above = last();
    id().copy(above.add("40000", path.slice(above.path.length, -1)));
  };
  for (const [position, path] of index.paths.entries()) {
    while (!path.startsWith(last().path)) closeLast();
    for (let slash = path.indexOf("/", last().path.length); slash >= 0; slash = path.indexOf("/", slash + 1)) {
      open.push(new OpenTree(path.slice(0, slash + 1)));
    }
    const tree = last();
    index.copyId(position, tree.add(index.mode(position).toString(8), path.slice(tree.path.length)));
  }
  while (open.length > 1) closeLast();
  return last().id().toString("hex");
}

/** A tree whose entries are still coming. */
class OpenTree {
  /** Byte path with a slash at its end; empty at the top. */
  readonly path: string;
  private bytes = Buffer.allocUnsafe(firstBytes);
  private length = 0;

  constructor(path: string) {
    this.path = path;
  }

  /** Answers where the entry's id belongs. */
  add(mode: string, name: string): Buffer {
    const wanted = this.length + mode.length + name.length + 2 + idBytes;
    if (wanted > this.bytes.length) {
      const larger = Buffer.allocUnsafe(wanted * 2);
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
    this.bytes.write(`${mode} ${name}\0`, this.length, "latin1");
    this.length = wanted;
    return this.bytes.subarray(wanted - idBytes, wanted);
  }

  readonly id = (): Buffer => {
    const bytes = this.bytes.subarray(0, this.length);
    return createHash("sha1").update(`tree ${bytes.length}\0`).update(bytes).digest();
  };
}
