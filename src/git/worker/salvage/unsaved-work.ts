/**
 * Owns finding work in a workspace that exists nowhere else, for salvage.
 *
 * Invariants:
 * 1. The workspace is only read. Its `.git` is data (holder-git.ts, object-store.ts); permissions of directories that
 *    had to be opened are put back by `release`.
 * 2. In doubt there is work.
 * 3. Ignored files are no work (but for those that `salvageIgnored` names), nor are files that were touched but have the
 *    content of HEAD's commit, nor commits, whatever names them, that the mirror has, nor what came from an upstream, as
 *    its remote-tracking ref tells.
 */
import { join } from "node:path";
import { Inside } from "../files/inside.js";
import { IndexFile } from "../index/index-file.js";
import { formatIndexFile } from "../index/index-writer.js";
import { findStaged, type Staged } from "../index/staged.js";
import type { TrustedIndex } from "../index/trusted-index.js";
import type { KnownModule } from "../index/trusted-modules.js";
import { BaseFiles } from "../objects/base-files.js";
import { Damaged, type ObjectKind, parseCommit } from "../objects/git-object.js";
import { ObjectStore, readFrom } from "../objects/object-store.js";
import { Gigantic } from "../objects/pack-file.js";
import { diffTrees } from "../objects/tree-diff.js";
import { rememberComparison } from "../workspace/recent-comparison.js";
import { type Comparison, compareWorkingTree, restoreModes } from "../workspace/working-tree.js";
import { type Change, findChanges } from "./changed-files.js";
import { GitBudget, type HolderGit, readHolderGit, type Tip } from "./holder-git.js";
import { HolderRules } from "./holder-rules.js";
import { IgnoreRules, isRulesFile } from "./ignore-rules.js";
import { findNested, type NestedRepository } from "./nested-repositories.js";
import { SalvagedIgnored } from "./salvaged-ignored.js";
import { isLfsContent, unsavedLfs } from "./unsaved-lfs.js";
import { UnsavedSubmodules } from "./unsaved-submodules.js";
import { Modes, UntrackedWalk } from "./untracked.js";

export const brokenIndex = "the index: it cannot be read";
/** How many commits are gone back to find one that the mirror has. */
const longestLine = 10_000;
/** What is read of a holder's objects: the largest one, and all in all. */
export const holderLimits = { mostBytes: 512 * 1024 * 1024, budget: 64 * 1024 ** 3, mostPacks: 400 };

export interface WorkRequest {
  /** The workspace. */
  readonly path: string;
  readonly mirror: string;
  /** The commit that was checked out; empty if unknown or none. Not looked at where there is a trusted index. */
  readonly from: string;
  readonly trusted: TrustedIndex | undefined;
  /** Globs of ignored files that are work. */
  readonly salvageIgnored: readonly string[];
  /** Submodules that were placed with it. */
  readonly modules: readonly KnownModule[];
  /** An absent directory to work in; the caller removes it. */
  readonly work: string;
  /** HEAD's commit is known to be damaged: the files are compared with `from`. */
  readonly withoutHead?: boolean;
}

/** The commit that the files are compared with. */
export interface WorkBase {
  /** Undefined if there is none that could be read. */
  readonly commit: string | undefined;
  readonly tree: string | undefined;
  /** Whether it is the one that the holder's HEAD is at. */
  readonly isHead: boolean;
  readonly files: BaseFiles;
}

export interface Work {
  readonly inside: Inside;
  readonly mirror: ObjectStore;
  /** The holder's own objects. */
  readonly objects: ObjectStore;
  readonly base: WorkBase;
  readonly changes: ReadonlyMap<string, Change>;
  /** Undefined if the index is the commit's, or there is none. */
  readonly staged: Staged | undefined;
  readonly git: HolderGit | undefined;
  /** What names an object that the mirror lacks, remote-tracking refs last. */
  readonly tips: readonly Tip[];
  readonly nested: readonly NestedRepository[];
  /** Byte paths of what is no file: pipes, sockets, devices. */
  readonly special: readonly string[];
  /** There are more untracked files than are looked at. */
  readonly overflow: boolean;
  /** In words, what could not be looked at. */
  readonly doubts: readonly string[];
  /** Puts permissions back and closes files. */
  release(): void;
}

export async function findWork(request: WorkRequest): Promise<Work> {
  const inside = new Inside(request.path);
  const mirror = ObjectStore.of(join(request.mirror, "objects"));
  const objects = new ObjectStore(inside, ".git/objects", holderLimits);
  const stores = [mirror, objects];
  const modes = new Modes();
  const read = (kind: ObjectKind) => (id: string) => readFrom(stores, id, kind);
  let restore = (): void => {};
  const release = (): void => {
    modes.restore();
    restore();
    mirror.close();
    objects.close();
  };
  try {
    const budget = new GitBudget();
    const git = readHolderGit(inside, ".git", budget);
    const { base, rules } = chooseBase(request, git, mirror, stores);
    const { index } = base.files;
    const comparison = compareWorkingTree(request.path, index, request.trusted?.writtenMs ?? 0);
    // Without its commit's tree it was not compared with the trusted index.
    if (request.trusted && index.length > 0) {
      rememberComparison(request.path, request.trusted.bytes, { index, comparison });
    }
    const restores = [() => restoreModes(request.path, comparison.oddDirectories)];
    restore = () => {
      for (const one of restores) one();
    };
    const staged = git?.index && findStaged(git.index, base.files);
    const tracked = new Set([...(staged?.added ?? []), ...base.files.diff.added.keys()]);
    const salvaged = new SalvagedIgnored(request.salvageIgnored);
    const ignored = new HolderRules(inside, IgnoreRules.of(rules, read("blob")));
    for (const path of rulesFiles(rules, comparison)) ignored.look(path);
    const walk = new UntrackedWalk(inside, ignored, salvaged, tracked, modes);
    const submodules = new UnsavedSubmodules(inside, request.modules, comparison.strangers, salvaged, modes);
    restores.push(() => submodules.restore());
    walk.walk(submodules.strangers);
    const conversions = join(request.work, "conversions");
    const isLfs = (at: string, blob: string) => isLfsContent(inside, at, read("blob")(blob), request.mirror);
    const changed = await findChanges(inside, base.files, comparison, walk, read("blob"), conversions, isLfs);
    const nested = submodules.withWork(findNested(inside, new Set([...walk.nested, ...submodules.nested]), budget));
    const changes = new Map(changed.changes);
    for (const path of submodules.changed) changes.set(path, "changed");
    const contents = unsavedLfs(inside, ".git", request.mirror);
    for (const path of [...submodules.untracked, ...contents]) changes.set(path, "untracked");
    const doubts = [
      ...(walk.overflow || submodules.overflow ? ["more files than are looked at"] : []),
      ...(staged?.impossible ? ["names in the index that no tree can have"] : []),
      ...(git?.brokenIndex === "damaged" ? [brokenIndex] : []),
      ...(git?.unread !== undefined ? [`.git: ${git.unread}`] : []),
      ...(objects.unread ? [".git: there are objects that are not looked at"] : []),
    ];
    return {
      inside,
      mirror,
      objects,
      base,
      changes,
      staged: staged && staged.edits.size + staged.conflicts.length > 0 ? staged : undefined,
      git,
      tips: (git?.tips ?? []).filter((tip) => !mirror.has(tip.id)),
      nested,
      special: [...walk.special, ...changed.special, ...submodules.special],
      overflow: walk.overflow || submodules.overflow,
      doubts,
      release,
    };
  } catch (error) {
    release();
    throw error;
  }
}

/** Whether there is any: what cannot be examined counts. */
export function hasWork(work: Work): boolean {
  const commits = work.tips.some((tip) => tip.kind !== "remote");
  return commits || work.changes.size + work.nested.length + (work.staged?.edits.size ?? 0) + work.doubts.length > 0;
}

/** Where a file of rules in the workspace may differ from that of the commit whose rules count, or be missing. */
function rulesFiles({ index, diff }: BaseFiles, { altered, missing }: Comparison): Set<string> {
  const differing = [...altered, ...missing].map((position) => index.paths[position] as string);
  return new Set(
    [...differing, ...diff.changed.keys(), ...diff.added.keys(), ...diff.removed.keys()].filter(isRulesFile),
  );
}

/** The commit to compare with, and the files whose `.gitignore` count: those of a commit that the mirror has. */
function chooseBase(
  request: WorkRequest,
  git: HolderGit | undefined,
  mirror: ObjectStore,
  stores: readonly ObjectStore[],
): { readonly base: WorkBase; readonly rules: BaseFiles } {
  const readTree = (id: string): Buffer => readFrom(stores, id, "tree");
  const treeOf = (commit: string): string => parseCommit(readFrom(stores, commit, "commit")).tree;
  const prepared = request.trusted?.commit ?? request.from;
  const fromTree = prepared === "" ? undefined : attempt(() => treeOf(prepared));
  const index = indexOf(fromTree, request.trusted, readTree);
  const head = request.withoutHead ? undefined : git?.tips.find((tip) => tip.kind === "head")?.id;
  const filesOf = (tree: string | undefined): BaseFiles => new BaseFiles(index, fromTree, tree, readTree);
  const baseAt = (commit: string | undefined, isHead: boolean): WorkBase => {
    const tree = commit === undefined ? undefined : treeOf(commit);
    return { commit, tree, isHead, files: filesOf(tree) };
  };
  const from = fromTree === undefined ? undefined : prepared;
  const base = (head !== undefined && attempt(() => baseAt(head, true))) || baseAt(from, false);
  const ruling = knownAncestor(base.commit, mirror, stores) ?? from;
  const rulingTree = ruling === undefined ? undefined : treeOf(ruling);
  return { base, rules: rulingTree === base.tree ? base.files : filesOf(rulingTree) };
}

/** The newest commit on the line of first parents that the mirror has. */
function knownAncestor(
  commit: string | undefined,
  mirror: ObjectStore,
  stores: readonly ObjectStore[],
): string | undefined {
  let at = commit;
  for (let steps = 0; at !== undefined && steps < longestLine; steps++) {
    const id = at;
    if (mirror.has(id)) return id;
    at = attempt(() => parseCommit(readFrom(stores, id, "commit")).parents[0]);
  }
  return undefined;
}

/** The trusted index, or else one made from the commit, whose files all have to be read. */
function indexOf(
  tree: string | undefined,
  trusted: TrustedIndex | undefined,
  readTree: (id: string) => Buffer,
): IndexFile {
  if (tree === undefined) return IndexFile.empty();
  if (trusted) return new IndexFile(trusted.bytes);
  const { added } = diffTrees(readTree, undefined, tree);
  return new IndexFile(formatIndexFile([...added].map(([path, entry]) => ({ path, ...entry }))));
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof Damaged || error instanceof Gigantic) return undefined;
    throw error;
  }
}
