/**
 * Owns reading what a holder's `.git` names, as plain files and untrusted data.
 *
 * Invariants:
 * 1. No repository is opened and nothing in it is obeyed; no symlink is followed, no pipe waited for.
 * 2. What makes no sense is passed over; what is too large to look at is told (`unread`), so that the caller can doubt.
 * 3. Names are bytes and may be anything; ids are well-formed.
 */
import { isHostFault } from "../files/fault.js";
import { type Inside, TooLarge } from "../files/inside.js";
import { IndexFile } from "../index/index-file.js";
import { joinSplitIndex, sharedIndexName } from "../index/split-index.js";
import { isObjectId, parsePacked } from "../mirror/refs.js";

/** Bytes of one file that are read at most. */
const largestFile = 256 * 1024 * 1024;
/** Files that are looked at at most. */
const mostFiles = 200_000;
const stash = "refs/stash";
const zeroId = /^0+$/;

/** Why an object is wanted. In the order in which they are saved. */
export type TipKind = "head" | "branch" | "tag" | "stash" | "ref" | "reflog" | "state" | "remote";

export interface Tip {
  readonly kind: TipKind;
  /** Full ref name, `stash@{0}`, `HEAD@{2}` or the file that names it, as bytes. */
  readonly name: string;
  readonly id: string;
}

export interface HolderGit {
  /** Full name of the branch that HEAD is on; undefined if it is detached or makes no sense. */
  readonly branch: string | undefined;
  /** Every name with its id; one id may have several names. */
  readonly tips: readonly Tip[];
  /** What is staged; undefined if there is no index that git could read. */
  readonly index: IndexFile | undefined;
  /** Whether there is an index that could not be read. */
  readonly brokenIndex: boolean;
  /** Something was too large to be read. */
  readonly unread: boolean;
}

/** `directory`: byte path. Undefined if it is not a real directory: there is no `.git` then that could hold anything. */
export function readHolderGit(inside: Inside, directory: string): HolderGit | undefined {
  if (!inside.isDirectory(directory)) return undefined;
  return new HolderReader(inside).read(directory);
}

class HolderReader {
  private readonly inside: Inside;
  private readonly tips: Tip[] = [];
  private unread = false;
  private files = 0;

  constructor(inside: Inside) {
    this.inside = inside;
  }

  read(directory: string): HolderGit {
    const refs = new Map<string, string>();
    for (const [name, ref] of parsePacked(this.text(`${directory}/packed-refs`) ?? "")) refs.set(name, ref.id);
    this.tree(directory, "refs", (name, text) => {
      const id = text.trim();
      if (isObjectId(id)) refs.set(name, id);
    });
    const head = (this.text(`${directory}/HEAD`) ?? "").trim();
    const branch = /^ref: *(refs\/heads\/.+)$/s.exec(head)?.[1];
    const headId = branch === undefined ? head : refs.get(branch);
    if (headId !== undefined) this.add("head", "HEAD", headId);
    this.logs(directory);
    for (const [name, id] of refs) {
      if (name !== stash) this.add(kindOf(name), name, id);
      // Without its reflog a stash is the newest one, and the only one.
      else if (!this.tips.some((tip) => tip.name === "stash@{0}" && tip.id === id)) this.add("stash", "stash@{0}", id);
    }
    this.states(directory, "");
    for (const name of this.list(`${directory}/worktrees`)) {
      const worktree = `${directory}/worktrees/${name}`;
      this.add("state", `worktrees/${name}/HEAD`, (this.text(`${worktree}/HEAD`) ?? "").trim());
      this.states(worktree, `worktrees/${name}/`);
      this.log("reflog", `worktrees/${name}/HEAD`, this.text(`${worktree}/logs/HEAD`));
    }
    const bytes = this.bytes(`${directory}/index`);
    let index: IndexFile | undefined;
    try {
      index = bytes && this.joined(directory, new IndexFile(bytes));
    } catch {
      // Told by `brokenIndex`.
    }
    const order: readonly TipKind[] = ["head", "branch", "tag", "stash", "ref", "reflog", "state", "remote"];
    const tips = order.flatMap((kind) => this.tips.filter((tip) => tip.kind === kind));
    return { branch, tips, index, brokenIndex: bytes !== undefined && !index, unread: this.unread };
  }

  /** With what a split index has in its other file. */
  private joined(directory: string, index: IndexFile): IndexFile {
    const name = sharedIndexName(index);
    const shared = name && this.bytes(`${directory}/${name}`);
    if (name && !shared) throw new Error(`${name} is missing`);
    return shared ? joinSplitIndex(index, new IndexFile(shared)) : index;
  }

  private add(kind: TipKind, name: string, id: string): void {
    if (isObjectId(id) && !zeroId.test(id)) this.tips.push({ kind, name, id });
  }

  /** ORIG_HEAD and its like, and what a rebase keeps. FETCH_HEAD names what an upstream has. */
  private states(directory: string, prefix: string): void {
    const names = this.list(directory).filter((name) => /^[A-Z_]+_HEAD$|^MERGE_AUTOSTASH$/.test(name));
    for (const rebase of ["rebase-merge", "rebase-apply"]) {
      const kept = this.list(`${directory}/${rebase}`).filter((name) => /^(autostash|orig-head|onto)$/.test(name));
      names.push(...kept.map((name) => `${rebase}/${name}`));
    }
    for (const name of names) {
      if (name === "FETCH_HEAD") continue;
      for (const line of (this.text(`${directory}/${name}`) ?? "").split("\n")) {
        this.add("state", prefix + name, line.trim());
      }
    }
  }

  private logs(directory: string): void {
    this.log("reflog", "HEAD", this.text(`${directory}/logs/HEAD`));
    this.tree(directory, "logs/refs", (path, text) => {
      const name = path.slice("logs/".length);
      if (name === stash) this.log("stash", "stash", text);
      else if (kindOf(name) !== "remote") this.log("reflog", name, text);
    });
  }

  /** The newest first, and the old id of the oldest: a commit that only this line may still name. */
  private log(kind: TipKind, name: string, text: string | undefined): void {
    const lines = (text ?? "").split("\n").filter((line) => isObjectId(line.slice(0, 40)));
    for (const [age, line] of lines.reverse().entries()) this.add(kind, `${name}@{${age}}`, line.slice(41, 81));
    const oldest = lines.at(-1)?.slice(0, 40);
    if (oldest !== undefined) this.add("reflog", `${name === "stash" ? stash : name}@{${lines.length}}`, oldest);
  }

  /** Calls back with every file below `name`. */
  private tree(directory: string, name: string, found: (name: string, text: string) => void): void {
    const entries = this.entries(`${directory}/${name}`);
    if (entries === undefined) {
      const text = this.text(`${directory}/${name}`);
      if (text !== undefined) found(name, text);
      return;
    }
    for (const entry of entries) this.tree(directory, `${name}/${entry}`, found);
  }

  private list(path: string): string[] {
    return this.entries(path) ?? [];
  }

  private entries(path: string): string[] | undefined {
    try {
      return this.inside.list(path)?.map((entry) => entry.name);
    } catch (error) {
      if (isHostFault(error)) throw error;
      this.unread = true;
      return [];
    }
  }

  /** As bytes. */
  private text(path: string): string | undefined {
    return this.bytes(path)?.toString("latin1");
  }

  private bytes(path: string): Buffer | undefined {
    if (++this.files > mostFiles) {
      this.unread = true;
      return undefined;
    }
    try {
      return this.inside.read(path, largestFile)?.bytes;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (!(error instanceof TooLarge) && code !== "EACCES" && code !== "EPERM") throw error;
      this.unread = true;
      return undefined;
    }
  }
}

function kindOf(name: string): TipKind {
  if (name.startsWith("refs/heads/")) return "branch";
  if (name.startsWith("refs/tags/")) return "tag";
  if (name.startsWith("refs/remotes/")) return "remote";
  return name === stash ? "stash" : "ref";
}
