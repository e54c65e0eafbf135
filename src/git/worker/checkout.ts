/**
 * Owns writing a commit's files into a workspace of ours, by libgit2.
 *
 * Invariants:
 * 1. Where a file is replaced, the old one is unlinked first, so nothing that still has it open, and no other name of
 *    it, shares its future.
 * 2. Only files that the old tree or index had are unlinked: their directories have been compared and are real.
 */
import { rmdirSync, unlinkSync } from "node:fs";
import { hasConvertingAttributes } from "./attributes.js";
import { toBytePath, toFsPath, toText } from "./byte-path.js";
import { checkoutStrategy, git, type Repository, type Tree, withRepository } from "./nodegit.js";

/** From this many paths on it is worth to look whether filters matter. */
const manyPaths = 1000;

/** Fills an empty workspace that has its `.git`. */
export async function checkOutAll(path: string, commit: string): Promise<void> {
  await withRepository(path, async (repository) => {
    const tree = await treeOf(repository, commit);
    await git.Checkout.tree(repository, tree, {
      checkoutStrategy: checkoutStrategy.force,
      ...((await hasConvertingAttributes(repository, tree)) ? {} : { disableFilters: 1 }),
    });
  });
}

/**
 * Moves a workspace from one commit to another; its index is the one of `from`.
 * `touched`: byte paths of files of `from` that are to be written anew in any case.
 */
export async function checkOutChanges(
  path: string,
  from: string,
  to: string,
  touched: readonly string[],
): Promise<void> {
  if (from === to && touched.length === 0) return;
  await withRepository(path, async (repository) => {
    const fromTree = await treeOf(repository, from);
    const tree = from === to ? fromTree : await treeOf(repository, to);
    const changes = from === to ? { old: [], all: [] } : await changedPaths(repository, fromTree, tree);
    removeFiles(path, [...touched, ...changes.old]);
    const paths: string[] = [];
    let unnameable = false;
    for (const changed of new Set([...touched, ...changes.all])) {
      const text = toText(changed);
      if (text === undefined) unnameable = true;
      else paths.push(text);
    }
    if (paths.length === 0 && !unnameable) return;
    const filters = paths.length < manyPaths || (await hasConvertingAttributes(repository, tree));
    await git.Checkout.tree(repository, tree, {
      checkoutStrategy: checkoutStrategy.force | checkoutStrategy.disablePathspecMatch,
      baseline: fromTree,
      ...(filters ? {} : { disableFilters: 1 }),
      // nodegit passes paths as UTF-8 text; where one cannot be named, libgit2 has to look at all.
      ...(unnameable ? {} : { paths }),
    });
  });
}

async function treeOf(repository: Repository, commit: string): Promise<Tree> {
  return (await git.Commit.lookup(repository, commit)).getTree();
}

async function changedPaths(
  repository: Repository,
  from: Tree,
  to: Tree,
): Promise<{ readonly old: string[]; readonly all: string[] }> {
  const diff = await git.Diff.treeToTree(repository, from, to);
  const old: string[] = [];
  const all: string[] = [];
  for (let index = 0; index < diff.numDeltas(); index++) {
    const delta = diff.getDelta(index);
    if (delta.oldFile().mode() !== 0) old.push(toBytePath(delta.oldFile().path()));
    all.push(toBytePath(delta.newFile().path()));
  }
  return { old, all };
}

/** Unlinks files that may be missing, and the directories that become empty. */
function removeFiles(path: string, names: readonly string[]): void {
  const root = toBytePath(path);
  const parents = new Set<string>();
  for (const name of names) {
    try {
      unlinkSync(toFsPath(`${root}/${name}`));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EISDIR" || code === "EPERM") rmdirSync(toFsPath(`${root}/${name}`));
      else if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    }
    parents.add(name.slice(0, Math.max(name.lastIndexOf("/"), 0)));
  }
  for (const parent of parents) removeEmptyUpwards(root, parent);
}

function removeEmptyUpwards(root: string, directory: string): void {
  for (let at = directory; at !== ""; at = at.slice(0, Math.max(at.lastIndexOf("/"), 0))) {
    try {
      rmdirSync(toFsPath(`${root}/${at}`));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") continue;
      if (code === "ENOTEMPTY" || code === "EEXIST") return;
      throw error;
    }
  }
}
