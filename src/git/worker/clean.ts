/**
 * Owns making what a holder left indistinguishable from a fresh clone.
 *
 * Invariants:
 * 1. The holder's `.git` is renamed away before libgit2 opens the workspace; it is never opened.
 * 2. Before libgit2 writes, everything that is not a tracked file or one of its real directories is in the trash,
 *    so no write can go through a symlink.
 * 3. Every file that may have changed is written anew; the others have been proven by their stat.
 * 4. Nothing is destroyed before the guard, where it is asked for, has found no work.
 */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { CleanOutcome, CleanWorkspaceRequest } from "../../ports/git-engine.js";
import { toBytePath, toFsPath } from "./byte-path.js";
import { checkOutChanges } from "./checkout.js";
import { isHostFault } from "./fault.js";
import { makeGitDirectory, placeGitDirectory } from "./git-directory.js";
import { guard } from "./guard.js";
import { IndexFile } from "./index-file.js";
import { beside, findWorkspace, isThere, leftoversOf } from "./place.js";
import { finish, type Making, makeWorkspace } from "./prepare.js";
import { readRefs } from "./refs.js";
import { TrashBin } from "./trash.js";
import { indexPath, readTrustedIndex } from "./trusted-index.js";
import { compareWorkingTree, correctModes } from "./working-tree.js";

export async function cleanWorkspace(request: CleanWorkspaceRequest): Promise<CleanOutcome> {
  const { path, candidates, target } = request;
  if (request.guardWork) {
    const unsaved = await guard(request);
    if (unsaved) return unsaved;
  }
  const bin = new TrashBin(request.trash);
  const found = findWorkspace(candidates);
  if (found !== undefined && found !== path) {
    if (isThere(path)) bin.take(path);
    mkdirSync(dirname(path), { recursive: true });
    renameSync(found, path);
  }
  for (const place of candidates) {
    if (place !== path && isThere(place)) bin.take(place);
    for (const leftover of leftoversOf(place)) bin.take(leftover);
  }
  const making: Making = { ...request, table: readRefs(request.mirror) };
  if (found !== undefined && target.commit !== "" && !request.fromScratch) {
    try {
      if (await reuse(making, bin)) return { kind: "clean", recreated: false };
    } catch (error) {
      // A full disk would defeat a fresh clone as well; anything else, one does not depend on.
      if (isHostFault(error)) throw error;
    }
  }
  if (isThere(path)) bin.take(path);
  await makeWorkspace(making);
  return { kind: "clean", recreated: true };
}

/** Cleans the files at `path` in place. False if there is no trusted index to judge them by. */
async function reuse(making: Making, bin: TrashBin): Promise<boolean> {
  const { path, trustedIndex, target } = making;
  const trusted = readTrustedIndex(trustedIndex);
  if (!trusted) return false;
  const index = new IndexFile(trusted.bytes);
  const git = join(path, ".git");
  if (isThere(git)) bin.take(git);
  const comparison = compareWorkingTree(path, index, trusted.writtenMs);
  correctModes(path, comparison.oddDirectories);
  const root = toBytePath(path);
  for (const stranger of comparison.strangers) bin.take(toFsPath(`${root}/${stranger}`));
  for (const submodule of comparison.missingSubmodules)
    mkdirSync(toFsPath(`${root}/${submodule}`), { recursive: true });

  const work = path + beside.made;
  await makeGitDirectory(work, making);
  writeFileSync(indexPath(work), trusted.bytes);
  placeGitDirectory(work, path);
  const touched = [...comparison.missing, ...comparison.altered].map((position) => index.paths[position] as string);
  await checkOutChanges(path, trusted.commit, target.commit, touched);
  await finish(making, trusted);
  return true;
}
