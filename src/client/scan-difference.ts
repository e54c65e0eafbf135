/**
 * Owns what differs between two trees, and which commits are new, as changes that can be recorded.
 *
 * Invariants:
 * 1. Each differing file is told once, whatever its name or its contents are; a name that is no plain text is told as git
 *    quotes it.
 * 2. A patch has at most `mostPatchBytes` bytes of UTF-8, and `patchTruncated` says of each that is not the whole
 *    difference: cut, of a binary file, or with bytes that are no text.
 */
import { lstat, open } from "node:fs/promises";
import { join } from "node:path";
import { ChangeKind } from "../../gen/leasehold/v1/session_pb.js";
import { GitError } from "./git-command.js";
import { cut, PatchSplitter, type Piece, patchText, shown } from "./scan-text.js";
import type { ScanTree } from "./scan-tree.js";

export interface FoundChange {
  readonly kind: ChangeKind;
  readonly path: string;
  readonly previousPath: string;
  readonly baseCommit: string;
  readonly commit: string;
  readonly patch: string;
  readonly patchTruncated: boolean;
  readonly summary: string;
}

/** Takes a change; `bytes` is about what it takes in a message. */
export type Take = (change: FoundChange, bytes: number) => void;

/** Most commits of one scan; of more the newest are told. */
const mostCommits = 1_000;

interface RawEntry {
  readonly kind: ChangeKind;
  readonly path: string;
  readonly previousPath: string;
  /** How many pieces of patch it has: a file that became a link, say, is removed and added. */
  readonly pieces: number;
}

const kinds: Readonly<Record<string, ChangeKind>> = {
  A: ChangeKind.ADDED,
  C: ChangeKind.ADDED,
  D: ChangeKind.DELETED,
  M: ChangeKind.MODIFIED,
  R: ChangeKind.RENAMED,
  T: ChangeKind.MODIFIED,
};

/** Tells each file that differs, in the order of their paths. */
export async function takeFiles(
  tree: ScanTree,
  from: string,
  to: string,
  baseCommit: string,
  take: Take,
): Promise<void> {
  // To see that a file was moved and changed takes contents that an agent may have removed; equal ones are seen without.
  const { renames, entries } = await rawEntries(tree, from, to, "-M").catch((error: unknown) => {
    if (!(error instanceof GitError)) throw error;
    return rawEntries(tree, from, to, "-M100%");
  });
  let next = 0;
  let pieces: Piece[] = [];
  const tell = () => {
    const entry = entries[next++];
    if (entry === undefined) return;
    const { patch, whole } = patchText(pieces);
    const change = {
      ...entry,
      baseCommit,
      commit: "",
      patch,
      patchTruncated: !whole || pieces.length === 0,
      summary: "",
    };
    const { pieces: _, ...plain } = change;
    take(plain, Buffer.byteLength(patch) + 2 * (entry.path.length + entry.previousPath.length) + 256);
    pieces = [];
  };
  const splitter = new PatchSplitter((piece) => {
    pieces.push(piece);
    if (pieces.length === entries[next]?.pieces) tell();
  });
  const format = [
    "--full-index",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--submodule=short",
    "--ignore-submodules=none",
  ];
  const plain = ["--no-textconv", "--no-ext-diff", "--no-color", ...format];
  try {
    await tree.read(["diff-tree", "-r", "-p", renames, ...plain, from, to], {
      onOutput: (piece) => splitter.add(piece),
    });
    splitter.end();
  } catch (error) {
    // contents are gone: what is left is told without a patch
    if (!(error instanceof GitError)) throw error;
  }
  while (next < entries.length) tell();
}

async function rawEntries(tree: ScanTree, from: string, to: string, renames: string) {
  const { output } = await tree.read(["diff-tree", "-r", "-z", "--raw", "--ignore-submodules=none", renames, from, to]);
  const parts = splitAt(output, 0);
  const entries: RawEntry[] = [];
  for (let at = 0; at + 1 < parts.length; ) {
    const letter = parts[at++]?.toString("latin1").split(" ")[4]?.charAt(0) ?? "M";
    const first = shown(parts[at++] as Buffer);
    const second = letter === "R" || letter === "C" ? shown(parts[at++] as Buffer) : undefined;
    const kind = kinds[letter] ?? ChangeKind.MODIFIED;
    const previousPath = kind === ChangeKind.RENAMED ? first : "";
    entries.push({ kind, path: second ?? first, previousPath, pieces: letter === "T" ? 2 : 1 });
  }
  return { renames, entries };
}

/** Tells the commits that HEAD reaches and none of `known` does, oldest first, but for those that were fetched. */
export async function takeCommits(tree: ScanTree, head: string, known: readonly string[], take: Take): Promise<void> {
  if (head === "" || head === known[0]) return;
  try {
    for (const change of await newCommits(tree, head, known)) take(change, 512 + change.summary.length);
  } catch (error) {
    if (!(error instanceof GitError)) throw error;
    // history that cannot be walked, cut off or with parts missing: what can be said is where it is now
    take({ ...plainCommit, baseCommit: known[0] ?? "", commit: head }, 512);
  }
}

const plainCommit = {
  kind: ChangeKind.COMMITTED,
  path: "",
  previousPath: "",
  patch: "",
  patchTruncated: false,
  summary: "",
};

async function newCommits(tree: ScanTree, head: string, known: readonly string[]): Promise<FoundChange[]> {
  const below = known.filter((id) => id !== "");
  const all = await log(tree, head, below);
  const remote = new Set(await tree.remoteTips());
  if (all.length === 0) return [];
  const unpublished = new Set((await log(tree, head, [...below, ...remote])).map(({ id }) => id));
  // what a remote-tracking branch has was fetched, or made here and pushed since; git's own log of HEAD tells which
  const made = all.every(({ id }) => unpublished.has(id)) ? new Set<string>() : await madeHere(tree.directory);
  return all
    .filter(({ id }) => unpublished.has(id) || made.has(id))
    .map(({ id, parent, subject }) => ({ ...plainCommit, baseCommit: parent, commit: id, summary: subject }));
}

interface Commit {
  readonly id: string;
  /** The first one; empty for none. */
  readonly parent: string;
  readonly subject: string;
}

async function log(tree: ScanTree, head: string, below: readonly string[]): Promise<Commit[]> {
  const args = [
    "log",
    "-z",
    "--reverse",
    "--topo-order",
    "--no-show-signature",
    "--format=%H%n%P%n%s",
    "--ignore-missing",
  ];
  const input = [head, ...below.map((id) => `^${id}`), ""].join("\n");
  const { output } = await tree.read([...args, `--max-count=${mostCommits}`, "--stdin"], { input });
  return splitAt(output, 0).flatMap((record) => {
    const [id = "", parents = "", subject = ""] = record.toString("utf8").split("\n");
    if (id === "") return [];
    const plain = subject.replace(/\p{Cc}/gu, " ");
    return [{ id, parent: parents.split(" ")[0] ?? "", subject: cut(Buffer.from(plain), 2_048) }];
  });
}

/** How git's log of HEAD tells of commits that were made, not fetched. */
const making =
  /^(commit\b|cherry-pick|revert|am:|(rebase|pull)[^(:]*\((pick|reword|edit|squash|fixup|continue)\)|(merge|pull)[^:]*: Merge made)/;

async function madeHere(directory: string): Promise<Set<string>> {
  const path = join(directory, ".git", "logs", "HEAD");
  const isFile = (await lstat(path).catch(() => undefined))?.isFile() ?? false;
  const file = isFile ? await open(path).catch(() => undefined) : undefined;
  if (file === undefined) return new Set();
  try {
    const { size } = await file.stat();
    const most = 4 * 1024 * 1024;
    const { buffer, bytesRead } = await file.read({
      buffer: Buffer.alloc(Math.min(size, most)),
      position: Math.max(0, size - most),
    });
    const lines = buffer.subarray(0, bytesRead).toString("latin1").split("\n");
    return new Set(
      lines.flatMap((line) => {
        const [facts = "", message = ""] = line.split("\t");
        return making.test(message) ? [facts.split(" ")[1] ?? ""] : [];
      }),
    );
  } finally {
    await file.close();
  }
}

function splitAt(bytes: Buffer, separator: number): Buffer[] {
  const parts: Buffer[] = [];
  let from = 0;
  for (let at = bytes.indexOf(separator); at >= 0; at = bytes.indexOf(separator, from)) {
    parts.push(bytes.subarray(from, at));
    from = at + 1;
  }
  if (from < bytes.length) parts.push(bytes.subarray(from));
  return parts;
}
