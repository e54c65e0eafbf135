/**
 * Owns finding work in a workspace that exists nowhere else.
 *
 * Invariants:
 * 1. The workspace is only read. Its `.git` is never opened (holder-git.ts); files are judged by a repository of ours.
 * 2. In doubt there is work.
 * 3. Ignored files are no work, nor are files that were touched but have the commit's content, nor commits,
 *    whatever names them, that the mirror has.
 */
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { convertingAttributes } from "./attributes.js";
import { toBytePath, toFsPath, toText } from "./byte-path.js";
import { readHolderGit } from "./holder-git.js";
import { IgnoreRules } from "./ignore-rules.js";
import { IndexFile } from "./index-file.js";
import { findObject, git, type Repository } from "./nodegit.js";
import {
  type Comparison,
  compareWorkingTree,
  fileKind,
  hasContent,
  restoreModes,
  sameExecutable,
} from "./working-tree.js";

/** How many untracked entries are looked at; beyond, there is doubt. */
const mostUntracked = 100_000;
/** The blob without content: it is what `git add --intent-to-add` stages. */
const emptyBlob = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
const disablePathspecMatch = 1 << 12;

export interface GuardRequest {
  /** The workspace. */
  readonly path: string;
  readonly mirror: string;
  /** The commit that was checked out, and its trusted index if there is one. */
  readonly from: string;
  readonly trusted: { readonly bytes: Buffer; readonly writtenMs: number } | undefined;
  /** An absent directory to work in; the caller removes it. */
  readonly work: string;
}

interface Counts {
  changed: number;
  untracked: number;
  nested: number;
  commits: number;
  staged: number;
  doubts: string[];
}

/** What work there is, in words; undefined if none. */
export async function findUnsavedWork(request: GuardRequest): Promise<string | undefined> {
  const counts: Counts = { changed: 0, untracked: 0, nested: 0, commits: 0, staged: 0, doubts: [] };
  mkdirSync(dirname(request.work), { recursive: true });
  const repository = await git.Repository.init(request.work, 0);
  try {
    // Lent from the mirror: this repository lives no longer than this call.
    writeFileSync(join(request.work, ".git", "objects", "info", "alternates"), `${join(request.mirror, "objects")}\n`);
    await judge(repository, request, counts);
  } finally {
    repository.cleanup();
  }
  return describe(counts);
}

function describe(counts: Counts): string | undefined {
  const parts: string[] = [];
  const tell = (count: number, one: string, many: string, after = ""): void => {
    if (count > 0) parts.push(`${count} ${count === 1 ? one : many}${after}`);
  };
  tell(counts.changed, "changed file", "changed files");
  tell(counts.untracked, "untracked file", "untracked files");
  tell(counts.nested, "nested repository", "nested repositories");
  tell(counts.staged, "staged file", "staged files");
  tell(counts.commits, "commit", "commits", " that the mirror lacks");
  parts.push(...counts.doubts);
  return parts.length > 0 ? parts.join(", ") : undefined;
}

async function judge(repository: Repository, request: GuardRequest, counts: Counts): Promise<void> {
  const index = await indexOf(repository, request);
  const comparison = compareWorkingTree(request.path, index, request.trusted?.writtenMs ?? 0);
  try {
    await countChanges(repository, request, index, comparison, counts);
    const rules = await IgnoreRules.load(await repository.odb(), index);
    const untracked = new UntrackedCount(toBytePath(request.path), rules, counts);
    for (const stranger of comparison.strangers) untracked.add(stranger);
    await countHolderGit(repository, join(request.path, ".git"), index, counts);
  } finally {
    restoreModes(request.path, comparison.oddDirectories);
  }
}

/** The trusted index, or else one made from the commit, whose files all have to be read. */
async function indexOf(repository: Repository, request: GuardRequest): Promise<IndexFile> {
  if (request.trusted) return new IndexFile(request.trusted.bytes, true);
  if (request.from === "") return IndexFile.empty();
  const index = await repository.index();
  await index.readTree(await (await git.Commit.lookup(repository, request.from)).getTree());
  await index.write();
  return new IndexFile(readFileSync(join(request.work, ".git", "index")), true);
}

/** Changed and deleted files of the commit. */
async function countChanges(
  repository: Repository,
  request: GuardRequest,
  index: IndexFile,
  comparison: Comparison,
  counts: Counts,
): Promise<void> {
  counts.changed += comparison.missing.length;
  const root = toBytePath(request.path);
  const differing: string[] = [];
  for (const position of comparison.altered) {
    const name = index.paths[position] as string;
    const path = toFsPath(`${root}/${name}`);
    const stat = lstatSync(path);
    const mode = index.mode(position);
    const sameKind =
      (mode & fileKind.mask) === fileKind.symlink ? stat.isSymbolicLink() : stat.isFile() && sameExecutable(stat, mode);
    if (!sameKind) counts.changed += 1;
    else if (!hasContent(path, stat, index.id(position))) differing.push(name);
  }
  counts.changed += await countReallyDiffering(repository, request, differing);
}

/** Of files whose bytes are not the blob's, those that are no conversion of it either. */
async function countReallyDiffering(
  repository: Repository,
  request: GuardRequest,
  names: readonly string[],
): Promise<number> {
  const texts = names.flatMap((name) => toText(name) ?? []);
  if (names.length === 0 || texts.length < names.length || request.from === "") return names.length;
  const tree = await (await git.Commit.lookup(repository, request.from)).getTree();
  if ((await convertingAttributes(repository, tree)).length === 0) return names.length;
  const index = await repository.index();
  await index.readTree(tree);
  repository.setWorkdir(request.path, 0);
  try {
    const options = { flags: disablePathspecMatch, pathspec: texts };
    return (await git.Diff.indexToWorkdir(repository, index, options)).numDeltas();
  } finally {
    repository.setWorkdir(request.work, 0);
  }
}

/** Counts what is not in the commit and not ignored by its rules. */
class UntrackedCount {
  private readonly root: string;
  private readonly rules: IgnoreRules;
  private readonly counts: Counts;
  private looked = 0;

  constructor(root: string, rules: IgnoreRules, counts: Counts) {
    this.root = root;
    this.rules = rules;
    this.counts = counts;
  }

  add(path: string): void {
    if (++this.looked > mostUntracked) {
      if (this.looked === mostUntracked + 1) this.counts.doubts.push("more files than are looked at");
      return;
    }
    const stat = lstatSync(toFsPath(`${this.root}/${path}`), { throwIfNoEntry: false });
    if (path.endsWith("/.git")) this.counts.nested += 1;
    else if (stat?.isDirectory()) {
      if (!this.rules.ignores(path, true)) this.addBelow(path, stat.mode);
    } else if ((stat?.isFile() || stat?.isSymbolicLink()) && !this.rules.ignores(path, false)) {
      this.counts.untracked += 1;
    }
  }

  private addBelow(path: string, mode: number): void {
    const directory = toFsPath(`${this.root}/${path}`);
    const closed = (mode & 0o500) !== 0o500;
    if (closed) chmodSync(directory, (mode & 0o7777) | 0o700);
    try {
      const names = readdirSync(directory, { encoding: "latin1" as "utf8" });
      if (names.includes(".git")) this.counts.nested += 1;
      else for (const name of names) this.add(`${path}/${name}`);
    } finally {
      if (closed) chmodSync(directory, mode & 0o7777);
    }
  }
}

/** Commits and staged content that the mirror lacks. */
async function countHolderGit(
  repository: Repository,
  directory: string,
  index: IndexFile,
  counts: Counts,
): Promise<void> {
  const holder = readHolderGit(directory);
  if (!holder) return;
  const odb = await repository.odb();
  const isKnown = async (id: string): Promise<boolean> => (await findObject(odb, id)) !== undefined;
  for (const id of holder.ids) {
    if (!(await isKnown(id))) counts.commits += 1;
  }
  if (holder.index) {
    const trusted = new Map(index.paths.map((path, position) => [path, position]));
    for (const [position, path] of holder.index.paths.entries()) {
      const id = holder.index.id(position);
      const known = trusted.get(path);
      if ((known !== undefined && index.id(known) === id) || id === emptyBlob) continue;
      // A directory of a sparse index and a submodule have no content here.
      if ((holder.index.mode(position) & fileKind.mask) === fileKind.submodule) continue;
      if (!(await isKnown(id))) counts.staged += 1;
    }
  }
  if (holder.index?.split) counts.doubts.push("a split index");
  if (holder.submodules) counts.nested += 1;
  if (holder.unread) counts.doubts.push("a .git too large to be looked at");
}
