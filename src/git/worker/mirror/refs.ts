/**
 * Owns how references are read and written: as plain files, of git's "files" format.
 *
 * Plain files because a mirror's references then change all at once (one rename), whatever their number and whatever
 * names conflict (`a` gone, `a/b` new), and because ten thousand tags cost milliseconds instead of seconds.
 *
 * Invariants:
 * 1. All references of a mirror are in its `packed-refs`, which is only ever replaced whole.
 * 2. Only names that git accepts are written (`isRefName`).
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { MirrorRefs } from "../../../ports/git-engine.js";
import { replaceFile } from "../files/replace-file.js";

export interface Ref {
  readonly id: string;
  /** The object that an annotated tag names in the end; undefined where `id` is no tag object. */
  readonly peeled?: string;
}

/** The references of a repository by full name, and where its HEAD points. */
export interface RefTable {
  /** Full ref name, or the commit id if it is detached. */
  readonly head: string;
  readonly refs: ReadonlyMap<string, Ref>;
}

const idPattern = /^[0-9a-f]{40}$/;
/** Namespaces in which a caller's revisions are looked up, and which the digest covers. */
export const publicNamespaces = ["refs/heads/", "refs/tags/", "refs/pull/", "refs/merge-requests/"] as const;

export function isObjectId(text: string): boolean {
  return idPattern.test(text);
}

/** Whether `name` is a full ref name by git's rules (git-check-ref-format), and safe as a path below `.git`. */
export function isRefName(name: string): boolean {
  if (!name.startsWith("refs/") || name.length > 1024 || name.includes("\uFFFD")) return false;
  if (/[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|\.$|\/$/.test(name)) return false;
  return name.split("/").every((part) => part !== "" && !part.startsWith(".") && !part.endsWith(".lock"));
}

export function isPublic(name: string): boolean {
  return publicNamespaces.some((namespace) => name.startsWith(namespace));
}

/** Reads a repository of ours. Loose references win over packed ones, as in git. */
export function readRefs(gitDirectory: string): RefTable {
  const loose = new Map<string, Ref>();
  readLoose(gitDirectory, "refs", loose);
  // After the loose ones: whoever packs writes the packed file first and removes the loose ones then.
  const refs = parsePacked(readOr(join(gitDirectory, "packed-refs"), ""));
  for (const [name, ref] of loose) refs.set(name, ref);
  const head = readFileSync(join(gitDirectory, "HEAD"), "utf8").trim();
  return { head: head.startsWith("ref:") ? head.slice(4).trim() : head, refs };
}

function readLoose(gitDirectory: string, name: string, into: Map<string, Ref>): void {
  for (const entry of readdirSync(join(gitDirectory, name), { withFileTypes: true })) {
    const full = `${name}/${entry.name}`;
    if (entry.isDirectory()) readLoose(gitDirectory, full, into);
    else if (entry.isFile() && isRefName(full)) {
      const id = readOr(join(gitDirectory, full), "").trim();
      if (isObjectId(id)) into.set(full, { id });
    }
  }
}

/** Parses `packed-refs`; lines that make no sense are passed over. */
export function parsePacked(text: string): Map<string, Ref> {
  const refs = new Map<string, Ref>();
  let last = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("^")) {
      const ref = refs.get(last);
      if (ref && isObjectId(line.slice(1))) refs.set(last, { ...ref, peeled: line.slice(1) });
    } else if (line[40] === " " && isObjectId(line.slice(0, 40))) {
      last = line.slice(41);
      refs.set(last, { id: line.slice(0, 40) });
    }
  }
  return refs;
}

/** The text of a `packed-refs` with these references. */
export function formatPacked(refs: ReadonlyMap<string, Ref>): string {
  const lines = ["# pack-refs with: peeled fully-peeled sorted "];
  for (const [name, ref] of sorted(refs)) {
    if (!isRefName(name)) continue;
    lines.push(`${ref.id} ${name}`);
    if (ref.peeled) lines.push(`^${ref.peeled}`);
  }
  return `${lines.join("\n")}\n`;
}

/** Invariant 1. `head` is written first: a HEAD whose branch is not there yet is harmless, the reverse is stale. */
export function writeMirrorRefs(gitDirectory: string, table: RefTable): void {
  const head = isObjectId(table.head) ? table.head : `ref: ${table.head}`;
  // it hardly ever changes, and to sync a file costs more than all else here
  if (readOr(join(gitDirectory, "HEAD"), "") !== `${head}\n`) replaceFile(join(gitDirectory, "HEAD"), `${head}\n`);
  replaceFile(join(gitDirectory, "packed-refs"), formatPacked(table.refs));
}

/** What the port tells of a mirror. */
export function describeRefs(table: RefTable): MirrorRefs {
  const hash = createHash("sha256");
  let any = false;
  for (const [name, ref] of sorted(table.refs)) {
    if (!isPublic(name)) continue;
    any = true;
    hash.update(`${name} ${ref.id}\n`);
  }
  hash.update(`HEAD ${table.head}\n`);
  const branch = table.head.startsWith("refs/heads/") ? table.head.slice("refs/heads/".length) : "";
  return { digest: hash.digest("hex"), defaultBranch: any ? branch : "" };
}

/** In the order of the names' bytes, which is what `sorted` in the header of `packed-refs` means. */
function sorted(refs: ReadonlyMap<string, Ref>): [string, Ref][] {
  return [...refs]
    .map(([name, ref]) => ({ key: Buffer.from(name), name, ref }))
    .sort((a, b) => Buffer.compare(a.key, b.key))
    .map(({ name, ref }) => [name, ref]);
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return otherwise;
    throw error;
  }
}
