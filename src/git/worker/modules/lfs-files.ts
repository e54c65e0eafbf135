/**
 * Owns which files of a commit are pointers of Git LFS: those whose `filter` attribute is `lfs` and whose blob is one.
 *
 * Invariants:
 * 1. Only the commit's own `.gitattributes` count.
 * 2. A subtree that was once found to have none is not looked at again, so a commit costs what it changed.
 */
import type { LfsObject } from "../../../domain/lfs.js";
import { Damaged, entryMode, parseTree, type TreeEntry } from "../objects/git-object.js";
import type { ObjectStore } from "../objects/object-store.js";
import { parseRule } from "../salvage/ignore-rules.js";

const fileName = ".gitattributes";
/** Bytes of a pointer at most, as git-lfs has it. */
const longestPointer = 1024;
const mostEntries = 3_000_000;
const mostKnown = 500_000;
const pointer =
  /^version https:\/\/(?:git-lfs\.github\.com\/spec|hawser\.github\.com\/spec)\/v1\n(?:ext-\d-[^\n]+\n)*oid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n?$/;

/** A file of a commit that Git LFS has the content of. */
export interface LfsFile extends LfsObject {
  /** Byte path. */
  readonly path: string;
  /** Id of the pointer. */
  readonly blob: string;
  readonly executable: boolean;
}

/** What a blob says as a pointer; undefined if it is none. */
export function parsePointer(bytes: Buffer): LfsObject | undefined {
  if (bytes.length > longestPointer) return undefined;
  const [, oid, size] = pointer.exec(bytes.toString("latin1")) ?? [];
  return oid === undefined ? undefined : { oid, size: Number(size) };
}

/** Ids of trees without a `.gitattributes`, in themselves and below. */
const plain = new Set<string>();

interface Attribution {
  readonly matches: (name: string, relative: string) => boolean;
  /** Whether it says `filter=lfs`; it says something of `filter` in any case. */
  readonly lfs: boolean;
}

/** The attributes of one directory, the last line first. */
interface Level {
  readonly directory: string;
  readonly rules: readonly Attribution[];
}

export function findLfsFiles(objects: ObjectStore, tree: string): LfsFile[] {
  const trees = new Map<string, Map<string, TreeEntry>>();
  let looked = 0;
  const entriesOf = (id: string): Map<string, TreeEntry> => {
    const known = trees.get(id);
    if (known) return known;
    const entries = parseTree(objects.read(id, "tree"));
    looked += entries.size;
    if (looked > mostEntries) throw new Damaged("more files than are looked at");
    trees.set(id, entries);
    return entries;
  };
  if (isPlain(entriesOf, tree)) return [];
  const found: LfsFile[] = [];
  const macros = new Map<string, boolean>();
  const look = (id: string, directory: string, above: readonly Level[]): void => {
    const entries = entriesOf(id);
    const file = entries.get(fileName);
    const isFile = file && (file.mode === entryMode.file || file.mode === entryMode.executable);
    const text = isFile ? objects.read(file.id, "blob").toString("latin1") : "";
    const rules = parseAttributes(text, macros, directory === "");
    const levels = rules.length > 0 ? [{ directory, rules }, ...above] : above;
    for (const [name, entry] of entries) {
      const path = directory === "" ? name : `${directory}/${name}`;
      if (entry.mode === entryMode.tree) {
        if (levels.length > 0 || !isPlain(entriesOf, entry.id)) look(entry.id, path, levels);
      } else if (entry.mode !== entryMode.link && entry.mode !== entryMode.submodule && isLfs(levels, path, name)) {
        const object = parsePointer(objects.read(entry.id, "blob"));
        // git-lfs has no content for what is empty
        if (object && object.size > 0) {
          found.push({ path, blob: entry.id, executable: entry.mode === entryMode.executable, ...object });
        }
      }
    }
  };
  look(tree, "", []);
  return found;
}

/** Invariant 2. */
function isPlain(entriesOf: (id: string) => Map<string, TreeEntry>, tree: string): boolean {
  if (plain.has(tree)) return true;
  for (const [name, entry] of entriesOf(tree)) {
    if (name === fileName || (entry.mode === entryMode.tree && !isPlain(entriesOf, entry.id))) return false;
  }
  if (plain.size >= mostKnown) plain.clear();
  plain.add(tree);
  return true;
}

function isLfs(levels: readonly Level[], path: string, name: string): boolean {
  for (const { directory, rules } of levels) {
    const relative = directory === "" ? path : path.slice(directory.length + 1);
    const rule = rules.find(({ matches }) => matches(name, relative));
    if (rule) return rule.lfs;
  }
  return false;
}

/** Lines that say something of `filter`, the last one first. Macros are for the top to define. */
function parseAttributes(text: string, macros: Map<string, boolean>, isTop: boolean): Attribution[] {
  const rules: Attribution[] = [];
  for (const line of text.replace(/^\xef\xbb\xbf/, "").split("\n")) {
    const [all, quotedPattern, plainPattern, rest = ""] =
      /^[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t"#]\S*))[ \t]+(.*?)\r?$/s.exec(line) ?? [];
    if (all === undefined) continue;
    const pattern = plainPattern ?? (quotedPattern ?? "").replace(/\\(.)/g, "$1");
    let lfs: boolean | undefined;
    for (const attribute of rest.split(/[ \t]+/)) {
      if (/^(filter|[-!]filter)$/.test(attribute)) lfs = false;
      else if (attribute.startsWith("filter=")) lfs = attribute === "filter=lfs";
      else lfs = macros.get(attribute) ?? lfs;
    }
    if (pattern.startsWith("[attr]")) {
      if (isTop && lfs !== undefined) macros.set(pattern.slice("[attr]".length), lfs);
      continue;
    }
    const rule = parseRule(pattern);
    if (lfs === undefined || !rule || rule.negated || rule.directoriesOnly) continue;
    rules.unshift({ lfs, matches: (name, relative) => rule.matches(rule.anchored ? relative : name) });
  }
  return rules;
}
