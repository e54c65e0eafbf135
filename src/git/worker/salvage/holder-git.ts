/**
 * Owns reading what a holder's `.git` names, as plain files and untrusted data.
 *
 * Invariants:
 * 1. No repository is opened and nothing in it is obeyed; no symlink is followed, no pipe waited for.
 * 2. What makes no sense is passed over. What may make sense to git, and is too much, may not be read or is of a form that
 *    is not known here, is told (`unread`): nothing of the workspace may be destroyed then.
 * 3. Names are bytes and may be anything; ids are well-formed.
 * 4. What is read is bounded by `GitBudget`, over all `.git` of a workspace.
 */
import { isHostFault } from "../files/fault.js";
import { type Inside, TooLarge } from "../files/inside.js";
import { IndexFile } from "../index/index-file.js";
import { joinSplitIndex, sharedIndexName } from "../index/split-index.js";
import { isObjectId } from "../mirror/refs.js";

/** Bytes of one file that are read at most. */
const largestFile = 256 * 1024 * 1024;
/** Bytes of a loose reference that say something; git takes no notice of what follows. */
const longestRef = 8 * 1024;
const mostTips = 1_000_000;
const stash = "refs/stash";
const zeroId = /^0+$/;
/** An id of a repository of another object format. */
const foreignId = /^[0-9a-f]{64}$/i;
/** A setting by which objects have other ids. It may be wrong: only with such objects it means anything. */
const foreignFormat = /\bobjectformat[ \t]*=[ \t]*(?!"?sha1"?[ \t]*(?:[#;\r\n]|$))/i;

/** What is read of all the `.git` of a workspace at most. */
export class GitBudget {
  files = 200_000;
  bytes = 512 * 1024 ** 2;
}

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
  /** An index that could not be read: `damaged` if it begins like one of git's, so that something may have been staged. */
  readonly brokenIndex: "damaged" | "nonsense" | undefined;
  /** In words, why there may be more than was read; undefined if there is not. */
  readonly unread: string | undefined;
}

/** `directory`: byte path. Undefined if it is not a real directory: there is no `.git` then that could hold anything. */
export function readHolderGit(inside: Inside, directory: string, budget: GitBudget): HolderGit | undefined {
  if (!inside.isDirectory(directory)) return undefined;
  return new HolderReader(inside, budget).read(directory);
}

class HolderReader {
  private readonly inside: Inside;
  private readonly budget: GitBudget;
  private readonly tips: Tip[] = [];
  private unread: string | undefined;

  constructor(inside: Inside, budget: GitBudget) {
    this.inside = inside;
    this.budget = budget;
  }

  read(directory: string): HolderGit {
    const refs = new Map<string, string>();
    const put = (name: string, id: string | undefined): void => {
      if (id !== undefined) refs.set(name, id);
    };
    if (this.inside.stat(`${directory}/reftable`) || this.hasForeignObjects(directory)) this.foreign();
    for (const line of linesOf(this.text(`${directory}/packed-refs`))) {
      const space = line.indexOf(" ");
      if (space > 0) put(line.slice(space + 1), this.idAt(line.slice(0, space)));
    }
    this.tree(directory, "refs", (name) => put(name, this.idAt(this.start(`${directory}/${name}`))));
    const head = this.start(`${directory}/HEAD`).trim();
    const branch = /^ref:\s*(refs\/heads\/.+)$/s.exec(head)?.[1];
    const headId = branch === undefined ? this.idAt(head) : refs.get(branch);
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
      this.add("state", `worktrees/${name}/HEAD`, this.idAt(this.start(`${worktree}/HEAD`)) ?? "");
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
    const isDamaged = bytes?.toString("latin1", 0, 4) === "DIRC";
    const brokenIndex = !bytes || index ? undefined : isDamaged ? "damaged" : "nonsense";
    return { branch, tips, index, brokenIndex, unread: this.unread };
  }

  private hasForeignObjects(directory: string): boolean {
    if (!foreignFormat.test(this.text(`${directory}/config`) ?? "")) return false;
    const objects = `${directory}/objects`;
    const hasName = (name: string, pattern: RegExp): boolean =>
      this.list(`${objects}/${name}`).some((one) => pattern.test(one));
    const folders = this.list(objects).filter((name) => /^[0-9a-f]{2}$/.test(name));
    return hasName("pack", /^pack-[0-9a-f]{64}\./) || folders.some((name) => hasName(name, /^[0-9a-f]{62}$/));
  }

  private foreign(): void {
    this.unread ??= "its references or objects are of a form that is not read";
  }

  /** The id that a text is, or begins with before a space. */
  private idAt(text: string): string | undefined {
    const [id = ""] = /^\s*[0-9a-f]{40,}(?=\s|$)/i.exec(text) ?? [];
    const known = id.trim().toLowerCase();
    if (foreignId.test(known)) this.foreign();
    return isObjectId(known) ? known : undefined;
  }

  /** With what a split index has in its other file. */
  private joined(directory: string, index: IndexFile): IndexFile {
    const name = sharedIndexName(index);
    const shared = name && this.bytes(`${directory}/${name}`);
    if (name && !shared) throw new Error(`${name} is missing`);
    return shared ? joinSplitIndex(index, new IndexFile(shared)) : index;
  }

  private add(kind: TipKind, name: string, id: string): void {
    if (!isObjectId(id) || zeroId.test(id)) return;
    if (this.tips.length < mostTips) this.tips.push({ kind, name, id });
    else this.unread ??= "it names more than is looked at";
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
      for (const line of linesOf(this.text(`${directory}/${name}`))) {
        this.add("state", prefix + name, this.idAt(line) ?? "");
      }
    }
  }

  private logs(directory: string): void {
    this.log("reflog", "HEAD", this.text(`${directory}/logs/HEAD`));
    this.tree(directory, "logs/refs", (path) => {
      const name = path.slice("logs/".length);
      const text = kindOf(name) === "remote" ? undefined : this.text(`${directory}/${path}`);
      if (name === stash) this.log("stash", "stash", text);
      else this.log("reflog", name, text);
    });
  }

  /** The newest first, and the old id of the oldest: a commit that only this line may still name. */
  private log(kind: TipKind, name: string, text: string | undefined): void {
    const lines: string[] = [];
    for (const line of linesOf(text)) if (isObjectId(line.slice(0, 40))) lines.push(line);
    for (const [age, line] of lines.reverse().entries()) this.add(kind, `${name}@{${age}}`, line.slice(41, 81));
    const oldest = lines.at(-1)?.slice(0, 40);
    if (oldest !== undefined) this.add("reflog", `${name === "stash" ? stash : name}@{${lines.length}}`, oldest);
  }

  /** Calls back with every name below `name`, and itself, that is no directory. */
  private tree(directory: string, name: string, found: (name: string) => void): void {
    const entries = this.entries(`${directory}/${name}`);
    if (entries === undefined) found(name);
    else for (const entry of entries) this.tree(directory, `${name}/${entry}`, found);
  }

  private list(path: string): string[] {
    return this.entries(path) ?? [];
  }

  private entries(path: string): string[] | undefined {
    try {
      return this.inside.list(path)?.map((entry) => entry.name);
    } catch (error) {
      if (isHostFault(error)) throw error;
      this.unread ??= "there are directories that may not be read";
      return [];
    }
  }

  /** As bytes. */
  private text(path: string): string | undefined {
    return this.bytes(path)?.toString("latin1");
  }

  private bytes(path: string): Buffer | undefined {
    return this.look((most) => this.inside.read(path, Math.min(largestFile, most))?.bytes);
  }

  /** How a file begins, as bytes; empty if there is none. */
  private start(path: string): string {
    return this.look((most) => this.inside.readStart(path, Math.min(longestRef, most)))?.toString("latin1") ?? "";
  }

  private look(read: (mostBytes: number) => Buffer | undefined): Buffer | undefined {
    const { budget } = this;
    try {
      if (--budget.files < 0 || budget.bytes <= 0) throw new TooLarge("too many files");
      const bytes = read(budget.bytes);
      budget.bytes -= bytes?.length ?? 0;
      return bytes;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (error instanceof TooLarge) this.unread ??= "it is too large to be looked at";
      else if (code === "EACCES" || code === "EPERM") this.unread ??= "there are files that may not be read";
      else throw error;
      return undefined;
    }
  }
}

/** One by one: a file may be nothing but ends of lines. */
function* linesOf(text = ""): Generator<string> {
  for (let begin = 0; begin < text.length; ) {
    const end = text.indexOf("\n", begin);
    const stop = end < 0 ? text.length : end;
    if (stop > begin) yield text.slice(begin, stop);
    begin = stop + 1;
  }
}

function kindOf(name: string): TipKind {
  if (name.startsWith("refs/heads/")) return "branch";
  if (name.startsWith("refs/tags/")) return "tag";
  if (name.startsWith("refs/remotes/")) return "remote";
  return name === stash ? "stash" : "ref";
}
