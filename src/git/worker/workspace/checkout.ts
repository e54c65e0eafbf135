/**
 * Owns writing a commit's files into a workspace of ours, by libgit2.
 *
 * Invariants:
 * 1. Where a file is replaced, the old one is unlinked first, so nothing that still has it open, and no other name of
 *    it, shares its future.
 * 2. Only files that the old tree or index had are unlinked: their directories have been compared and are real.
 */

import { toText } from "../files/byte-path.js";
import { asHolder } from "../files/holder.js";
import { removeFiles } from "../files/remove-files.js";
import { checkoutStrategy, git, type Repository, type Tree, withRepository } from "../nodegit.js";
import { ObjectStore } from "../objects/object-store.js";
import { diffTrees } from "../objects/tree-diff.js";
import { convertAttributesFiles, convertingAttributes, isAttributesFile } from "./attributes.js";
import { movePlainly } from "./plain-move.js";

/** From this many paths on it is worth to look whether filters matter. */
const manyPaths = 1000;

/** Writes some files (text paths) into an empty workspace that has its `.git`, as its attributes files say. */
export async function checkOutSome(
  path: string,
  commit: string,
  attributes: readonly string[],
  paths: readonly string[],
): Promise<void> {
  if (attributes.length > 0) await writeAttributes(path, commit, attributes);
  const rest = paths.filter((name) => !isAttributesFile(name));
  if (rest.length > 0) await write(path, commit, { paths: rest });
}

/** Fills an empty workspace that has its `.git`. */
export function checkOutAll(path: string, commit: string): Promise<void> {
  return asHolder(() => fill(path, commit));
}

/** The same as whoever this process acts as. */
export async function fill(path: string, commit: string): Promise<void> {
  const attributes = await withRepository(path, async (repository) =>
    convertingAttributes(repository, await treeOf(repository, commit)),
  );
  if (attributes.length > 0) await writeAttributes(path, commit, attributes);
  await write(path, commit, attributes.length > 0 ? {} : { disableFilters: 1 });
}

/**
 * Moves a workspace from one commit to another; its HEAD is at `to` and its index is the one of `from`.
 * `touched`: byte paths of files of `from` that are to be written anew in any case.
 * Throws where only a fresh clone gives what a fresh clone has.
 */
export function checkOutChanges(path: string, from: string, to: string, touched: readonly string[]): Promise<void> {
  return asHolder(() => change(path, from, to, touched));
}

async function change(path: string, from: string, to: string, touched: readonly string[]): Promise<void> {
  if (touched.length === 0 && (from === to || movePlainly(path, from, to))) return;
  const plan = await withRepository(path, async (repository) => {
    const fromTree = await treeOf(repository, from);
    const tree = await treeOf(repository, to);
    const diff = compareTrees(path, fromTree.id().toString(), tree.id().toString());
    const changed = [...diff.removed, ...diff.added, ...diff.changed];
    if (changed.some(isAttributesFile)) {
      for (const side of [fromTree, tree]) {
        // Other attributes give other bytes to files that did not change.
        if ((await convertingAttributes(repository, side)).length > 0) throw new Error("attributes changed");
      }
    }
    const gone = new Set(diff.removed);
    const written = new Set([...touched.filter((name) => !gone.has(name)), ...diff.added, ...diff.changed]);
    const filters = written.size < manyPaths || (await convertingAttributes(repository, tree)).length > 0;
    removeFiles(path, new Set([...touched, ...diff.removed, ...diff.changed]));
    if (diff.removed.length > 0) {
      const index = await repository.index();
      for (const removed of diff.removed) await index.removeByPath(named(removed));
      await index.write();
    }
    return { paths: [...written].map(named), filters };
  });
  const attributes = plan.paths.filter(isAttributesFile);
  if (attributes.length > 0) await writeAttributes(path, to, attributes);
  // No paths would mean all paths.
  const rest = plan.paths.filter((name) => !isAttributesFile(name));
  if (rest.length > 0) await write(path, to, { paths: rest, ...(plan.filters ? {} : { disableFilters: 1 }) });
}

/** As they are in the commit first, so that each finds the others; what attributes do to them follows. */
async function writeAttributes(path: string, commit: string, paths: readonly string[]): Promise<void> {
  await write(path, commit, { paths, disableFilters: 1 });
  await withRepository(path, (repository) => convertAttributesFiles(repository, path, paths));
}

/**
 * Writes files that are missing. HEAD is at the commit already, so that is all that libgit2 sees of them.
 * Attributes are read from the working tree while several threads write it: hence `.gitattributes` go first, alone.
 */
async function write(path: string, commit: string, options: { paths?: readonly string[]; disableFilters?: number }) {
  await withRepository(path, async (repository) => {
    const exact = options.paths ? checkoutStrategy.disablePathspecMatch : 0;
    const checkout = { checkoutStrategy: checkoutStrategy.force | exact, ...options };
    await git.Checkout.tree(repository, await treeOf(repository, commit), checkout);
  });
}

/** Byte paths that differ. */
function compareTrees(path: string, from: string, to: string) {
  const objects = ObjectStore.ofWorkspace(path);
  try {
    const { removed, added, changed } = diffTrees((id) => objects.read(id, "tree"), from, to);
    return { removed: [...removed.keys()], added: [...added.keys()], changed: [...changed.keys()] };
  } finally {
    objects.close();
  }
}

async function treeOf(repository: Repository, commit: string): Promise<Tree> {
  return (await git.Commit.lookup(repository, commit)).getTree();
}

/** nodegit takes paths as text only; where a name is no text, the caller has to make a fresh clone. */
function named(path: string): string {
  const text = toText(path);
  if (text === undefined) throw new Error("a path that is not UTF-8 cannot be written by itself");
  return text;
}
