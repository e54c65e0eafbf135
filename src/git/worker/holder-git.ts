/**
 * Owns reading what a holder's `.git` names, as plain files and untrusted data.
 *
 * Invariants:
 * 1. No repository is opened and nothing in it is obeyed; no symlink is followed, no pipe waited for.
 * 2. What makes no sense is passed over; what is too large to look at is told (`unread`), so that the caller can doubt.
 * 3. Remote-tracking refs are left out: what they name came from an upstream or was sent there.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { IndexFile } from "./index-file.js";
import { isObjectId, parsePacked } from "./refs.js";

/** Bytes of one file that are read at most. */
const largestFile = 256 * 1024 * 1024;
/** Files that are looked at at most. */
const mostFiles = 200_000;
const remotes = "refs/remotes";

export interface HolderGit {
  /** Ids that HEAD, branches, tags, stashes, notes, other worktrees and their reflogs name. */
  readonly ids: ReadonlySet<string>;
  /** What is staged; undefined if there is no index that git could read. */
  readonly index: IndexFile | undefined;
  /** Whether there are repositories of submodules. */
  readonly submodules: boolean;
  /** Something was too large to be read. */
  readonly unread: boolean;
}

/** Undefined if `directory` is not a real directory: there is no `.git` then that could hold anything. */
export function readHolderGit(directory: string): HolderGit | undefined {
  if (!isRealDirectory(directory)) return undefined;
  const reader = new HolderReader();
  reader.worktree(directory);
  for (const name of reader.list(join(directory, "worktrees"))) reader.worktree(join(directory, "worktrees", name));
  const packed = reader.text(join(directory, "packed-refs"));
  for (const [name, ref] of parsePacked(packed ?? "")) {
    if (!name.startsWith(`${remotes}/`)) reader.ids.add(ref.id);
  }
  reader.tree(directory, "refs", (text) => reader.add(text.trim()));
  reader.tree(directory, "logs/refs", (text) => reader.addLog(text));
  const submodules = reader.list(join(directory, "modules")).length > 0;
  return { ids: reader.ids, index: reader.index(join(directory, "index")), submodules, unread: reader.unread };
}

class HolderReader {
  readonly ids = new Set<string>();
  unread = false;
  private files = 0;

  /** HEAD and its like, and HEAD's reflog. FETCH_HEAD names what an upstream has. */
  worktree(directory: string): void {
    for (const name of this.list(directory)) {
      if (!/^([A-Z_]+_)?HEAD$/.test(name) || name === "FETCH_HEAD") continue;
      for (const line of (this.text(join(directory, name)) ?? "").split("\n")) this.add(line.trim());
    }
    this.addLog(this.text(join(directory, "logs", "HEAD")) ?? "");
  }

  /** Calls back with every file below `name`, but for remote-tracking ones. */
  tree(directory: string, name: string, found: (text: string) => void): void {
    if (name.endsWith(remotes)) return;
    const path = join(directory, name);
    if (!isRealDirectory(path)) {
      const text = this.text(path);
      if (text !== undefined) found(text);
      return;
    }
    for (const entry of this.list(path)) this.tree(directory, `${name}/${entry}`, found);
  }

  add(id: string): void {
    if (isObjectId(id) && !/^0+$/.test(id)) this.ids.add(id);
  }

  /** Both ids of every line: the old one may be a commit that only this line still names. */
  addLog(text: string): void {
    for (const line of text.split("\n")) {
      this.add(line.slice(0, 40));
      this.add(line.slice(41, 81));
    }
  }

  index(path: string): IndexFile | undefined {
    const bytes = this.bytes(path);
    try {
      return bytes && new IndexFile(bytes);
    } catch {
      return undefined;
    }
  }

  list(path: string): string[] {
    if (!isRealDirectory(path)) return [];
    try {
      return readdirSync(path);
    } catch {
      this.unread = true;
      return [];
    }
  }

  text(path: string): string | undefined {
    return this.bytes(path)?.toString("utf8");
  }

  private bytes(path: string): Buffer | undefined {
    if (++this.files > mostFiles) {
      this.unread = true;
      return undefined;
    }
    let file: number;
    try {
      file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" && code !== "ENOTDIR" && code !== "ELOOP" && code !== "ENXIO") this.unread = true;
      return undefined;
    }
    try {
      const stat = fstatSync(file);
      if (!stat.isFile()) return undefined;
      if (stat.size > largestFile) {
        this.unread = true;
        return undefined;
      }
      const bytes = Buffer.alloc(stat.size);
      return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0));
    } finally {
      closeSync(file);
    }
  }
}

function isRealDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
