/**
 * Owns which tree an index adds up to, from its entries alone: what `git write-tree` would answer, without writing.
 */
import { createHash } from "node:crypto";
import type { IndexFile } from "./index-file.js";

interface Open {
  /** Byte path with a slash at its end; empty at the top. */
  readonly path: string;
  readonly entries: Buffer[];
}

/** The id of the tree. Git's order of entries is the order of the index: a directory sorts as if its name ended with a slash. */
export function treeOfIndex(index: IndexFile): string {
  const open: Open[] = [{ path: "", entries: [] }];
  const closeLast = (): void => {
    const { path, entries } = open.pop() as Open;
    const above = open.at(-1) as Open;
    above.entries.push(entry("40000", path.slice(above.path.length, -1), treeId(entries)));
  };
  for (const [position, path] of index.paths.entries()) {
    while (!path.startsWith((open.at(-1) as Open).path)) closeLast();
    for (let at = (open.at(-1) as Open).path.length; ; ) {
      const slash = path.indexOf("/", at);
      if (slash < 0) break;
      at = slash + 1;
      open.push({ path: path.slice(0, at), entries: [] });
    }
    const last = open.at(-1) as Open;
    last.entries.push(entry(index.mode(position).toString(8), path.slice(last.path.length), index.id(position)));
  }
  while (open.length > 1) closeLast();
  return treeId((open[0] as Open).entries);
}

function entry(mode: string, name: string, id: string): Buffer {
  return Buffer.concat([Buffer.from(`${mode} ${name}\0`, "latin1"), Buffer.from(id, "hex")]);
}

function treeId(entries: readonly Buffer[]): string {
  const bytes = Buffer.concat(entries);
  return createHash("sha1").update(`tree ${bytes.length}\0`).update(bytes).digest("hex");
}
