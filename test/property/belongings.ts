/**
 * Owns: what a workspace holds that is not ignored, told by plain git and a walk right before its lease ends; and whether
 * all of it is in the upstream or in the lease's salvage, told by plain git too.
 */
import { createHash } from "node:crypto";
import { lstat, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { plainGit } from "../hostile/portrait.js";

/** A file by its bytes, and by what git would store of it. */
interface File {
  readonly mode: string;
  readonly ids: readonly string[];
}

export interface Belongings {
  /** By path, a byte per character. */
  readonly files: ReadonlyMap<string, File>;
  readonly commits: ReadonlySet<string>;
  /** Blobs that are staged. */
  readonly staged: ReadonlySet<string>;
  /** Empty if it is unborn. */
  readonly head: string;
}

const lines = (text: string): string[] => text.split(/[\0\n]/).filter(Boolean);
const isId = (text: string): boolean => /^[0-9a-f]{40}$/.test(text);

export async function belongingsOf(path: string, below = ""): Promise<Belongings> {
  const top = below === "" ? path : join(path, below);
  const [listed, head, reflog, stashes, index] = await Promise.all([
    plainGit(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
    plainGit(top, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"),
    plainGit(top, "log", "-g", "--format=%H", "HEAD"),
    plainGit(top, "log", "-g", "--format=%H", "refs/stash"),
    plainGit(top, "ls-files", "-z", "--stage"),
  ]);
  const tips = [...lines(head), ...lines(reflog), ...lines(stashes)].filter(isId);
  const reached = await plainGit(top, "rev-list", "--ignore-missing", "--branches", "--tags", ...new Set(tips));
  const commits = new Set(lines(reached).filter(isId));
  const staged = new Set<string>();
  for (const entry of index.split("\0")) {
    const [mode, id] = entry.split(" ");
    // an intent to add has no content
    if (mode !== "160000" && id && isId(id) && id !== emptyBlob) staged.add(id);
  }
  const files = new Map<string, File>();
  for (const name of new Set(listed.split("\0").filter(Boolean))) {
    if (name.endsWith("/")) {
      const nested = await belongingsOf(path, below === "" ? name.slice(0, -1) : `${below}/${name.slice(0, -1)}`);
      for (const [file, content] of nested.files) files.set(file, content);
      for (const id of nested.commits) commits.add(id);
      for (const id of nested.staged) staged.add(id);
      continue;
    }
    const file = await fileAt(top, name);
    if (file) files.set(below === "" ? name : `${below}/${name}`, file);
  }
  return { files, commits, staged, head: lines(head).find(isId) ?? "" };
}

const emptyBlob = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";

/** Undefined if it is gone, or a directory. */
async function fileAt(top: string, name: string): Promise<File | undefined> {
  const place = Buffer.concat([Buffer.from(`${top}/`), Buffer.from(name, "latin1")]);
  const stat = await lstat(place).catch(() => undefined);
  if (stat?.isSymbolicLink()) return { mode: "120000", ids: [blobId(await readlink(place, "buffer"))] };
  if (!stat?.isFile()) return undefined;
  const bytes = await readFile(place);
  const unixLines = Buffer.from(bytes.toString("latin1").replaceAll("\r\n", "\n"), "latin1");
  return { mode: stat.mode & 0o100 ? "100755" : "100644", ids: [blobId(bytes), blobId(unixLines)] };
}

function blobId(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

export interface Kept {
  /** The bare upstream. */
  readonly upstream: string;
  /** The repository of salvages and the lease's ref in it, if there is one. */
  readonly salvage: { readonly repository: string; readonly ref: string } | undefined;
}

/** What is neither in the upstream nor in the salvage, in words. */
export async function lost(had: Belongings, { upstream, salvage }: Kept): Promise<string[]> {
  const reached = new Set(objectsOf(await plainGit(upstream, "rev-list", "--objects", "--all")));
  if (salvage) {
    for (const id of objectsOf(await plainGit(salvage.repository, "rev-list", "--objects", salvage.ref)))
      reached.add(id);
  }
  const missing: string[] = [];
  for (const id of had.commits) if (!reached.has(id)) missing.push(`commit ${id}`);
  for (const id of had.staged) if (!reached.has(id)) missing.push(`staged ${id}`);
  const tree = salvage
    ? await plainGit(salvage.repository, "ls-tree", "-r", "-z", salvage.ref)
    : await plainGit(upstream, "ls-tree", "-r", "-z", had.head);
  const entries = new Map<string, string>();
  for (const line of tree.split("\0")) {
    const tab = line.indexOf("\t");
    const [mode, , id] = line.slice(0, tab).split(" ");
    entries.set(line.slice(tab + 1), `${mode} ${id}`);
  }
  for (const [path, { mode, ids }] of had.files) {
    const entry = entries.get(path);
    // nothing was saved and nothing was committed: then it is what the lease began with
    if (!salvage && had.head === "" && ids.some((id) => reached.has(id))) continue;
    if (!ids.some((id) => entry === `${mode} ${id}`))
      missing.push(`file ${JSON.stringify(path)} ${mode} ${ids[0]}: ${entry}`);
  }
  return missing;
}

function objectsOf(text: string): string[] {
  return text.split("\n").map((line) => line.slice(0, 40));
}
