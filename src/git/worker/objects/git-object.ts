/**
 * Owns git's objects as bytes: what they name, how they are written, what their id is (SHA-1).
 *
 * Invariant: malformed bytes throw `Damaged`; nothing is guessed.
 */
import { createHash } from "node:crypto";

export type ObjectKind = "commit" | "tree" | "blob" | "tag";

export interface GitObject {
  readonly kind: ObjectKind;
  readonly bytes: Buffer;
}

/** An object that is not what it should be, in words that may be shown. */
export class Damaged extends Error {
  override readonly name = "Damaged";
}

/** Modes of entries of a tree. */
export const entryMode = { tree: 0o40000, file: 0o100644, executable: 0o100755, link: 0o120000, submodule: 0o160000 };

export function isSubmodule(mode: number): boolean {
  return (mode & 0o170000) === entryMode.submodule;
}

export interface TreeEntry {
  readonly mode: number;
  readonly id: string;
}

const idBytes = 20;

export function objectId(kind: ObjectKind, bytes: Uint8Array): string {
  return createHash("sha1").update(`${kind} ${bytes.length}\0`).update(bytes).digest("hex");
}

/** Entries by name (bytes), in the tree's order. Names that could lead elsewhere than into a directory are malformed. */
export function parseTree(bytes: Buffer): Map<string, TreeEntry> {
  const entries = new Map<string, TreeEntry>();
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const end = bytes.indexOf(0, space);
    if (space < 0 || end < 0 || end + 1 + idBytes > bytes.length) throw new Damaged("a malformed tree");
    const mode = Number.parseInt(bytes.toString("latin1", at, space), 8);
    const name = bytes.toString("latin1", space + 1, end);
    if (!isEntryName(name)) throw new Damaged("a tree with an impossible name");
    entries.set(name, { mode, id: bytes.toString("hex", end + 1, end + 1 + idBytes) });
    at = end + 1 + idBytes;
  }
  return entries;
}

/** Whether git takes it as the name of a file or directory. */
export function isEntryName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !name.includes("/") && name.toLowerCase() !== ".git";
}

/** In git's order: as bytes, directories as if their names ended with a slash. */
export function formatTree(entries: ReadonlyMap<string, TreeEntry>): Buffer {
  const key = (name: string, entry: TreeEntry): string => (entry.mode === entryMode.tree ? `${name}/` : name);
  const sorted = [...entries]
    .map(([name, entry]) => ({ name, entry, key: key(name, entry) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  return Buffer.concat(
    sorted.flatMap(({ name, entry }) => [
      Buffer.from(`${entry.mode.toString(8)} ${name}\0`, "latin1"),
      Buffer.from(entry.id, "hex"),
    ]),
  );
}

export interface CommitContent {
  readonly tree: string;
  readonly parents: readonly string[];
  /** Seconds since 1970, as its committer says; 0 if that makes no sense. */
  readonly time: number;
  /** Name, address, time and zone of its committer, as bytes. */
  readonly committer: string;
  /** As bytes. */
  readonly message: string;
}

export function parseCommit(bytes: Buffer): CommitContent {
  const text = bytes.toString("latin1");
  const end = text.indexOf("\n\n");
  const header = end < 0 ? text : text.slice(0, end + 1);
  const tree = /^tree ([0-9a-f]{40})\n/.exec(header)?.[1];
  if (tree === undefined) throw new Damaged("a commit without a tree");
  const parents: string[] = [];
  let at = "tree \n".length + 40;
  for (let match: RegExpExecArray | null; ; at += "parent \n".length + 40) {
    match = /^parent ([0-9a-f]{40})\n/.exec(header.slice(at, at + 48));
    if (!match?.[1]) break;
    parents.push(match[1]);
  }
  const committer = /\ncommitter ([^\n]*)/.exec(header)?.[1] ?? "";
  const time = Number(/> (\d{1,11}) /.exec(committer)?.[1] ?? 0);
  return { tree, parents, time, committer, message: end < 0 ? "" : text.slice(end + 2) };
}

/** What a tag object names. */
export function parseTag(bytes: Buffer): { readonly id: string; readonly kind: string } {
  const match = /^object ([0-9a-f]{40})\ntype (commit|tree|blob|tag)\n/.exec(bytes.toString("latin1", 0, 80));
  if (!match?.[1] || !match[2]) throw new Damaged("a malformed tag");
  return { id: match[1], kind: match[2] };
}

/** Ids that an object needs to be whole. A submodule's commit is of another repository. */
export function referencesOf(object: GitObject): string[] {
  switch (object.kind) {
    case "blob":
      return [];
    case "tag":
      return [parseTag(object.bytes).id];
    case "commit": {
      const { tree, parents } = parseCommit(object.bytes);
      return [...parents, tree];
    }
    case "tree":
      return [...parseTree(object.bytes).values()]
        .filter((entry) => entry.mode !== entryMode.submodule)
        .map((entry) => entry.id);
  }
}
