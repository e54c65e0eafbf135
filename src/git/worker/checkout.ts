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
import { diffTrees } from "./tree-diff.js";

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
 * Moves a workspace from one commit to another; its HEAD is at `to` and its index is the one of `from`.
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
    const tree = await treeOf(repository, to);
    const fromTree = (await git.Commit.lookup(repository, from)).treeId().toString();
    const diff = await diffTrees(await repository.odb(), fromTree, tree.id().toString());
    removeFiles(path, new Set([...touched, ...diff.removed, ...diff.changed]));

    // The index is changed in memory only: the checkout does not read it again (noRefresh) and writes it when done.
    const index = await repository.index();
    for (const removed of diff.removed) await index.removeByPath(named(removed));
    const gone = new Set(diff.removed);
    const written = new Set([...touched.filter((name) => !gone.has(name)), ...diff.added, ...diff.changed]);
    if (written.size === 0) return void (await index.write());
    const filters = written.size < manyPaths || (await hasConvertingAttributes(repository, tree));
    // HEAD is at this tree already, so all that libgit2 sees of a file is that it is missing and to be written.
    await git.Checkout.tree(repository, tree, {
      checkoutStrategy: checkoutStrategy.force | checkoutStrategy.noRefresh | checkoutStrategy.disablePathspecMatch,
      paths: [...written].map(named),
      ...(filters ? {} : { disableFilters: 1 }),
    });
  });
}

/** nodegit takes paths as text only; where a name is no text, the caller has to make a fresh clone. */
function named(path: string): string {
  const text = toText(path);
  if (text === undefined) throw new Error("a path that is not UTF-8 cannot be written by itself");
  return text;
}

async function treeOf(repository: Repository, commit: string): Promise<Tree> {
  return (await git.Commit.lookup(repository, commit)).getTree();
}

/** Unlinks files that may be missing, and the directories that become empty. */
function removeFiles(path: string, names: ReadonlySet<string>): void {
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
