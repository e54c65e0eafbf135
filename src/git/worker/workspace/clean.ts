/**
 * Owns making what a holder left indistinguishable from a fresh clone.
 *
 * Invariants:
 * 1. The holder's `.git` is renamed away before libgit2 opens the workspace; it is never opened.
 * 2. Before libgit2 writes, everything that is not a tracked file or one of its real directories is in the trash,
 *    so no write can go through a symlink.
 * 3. Every file that may have changed is written anew; the others have been proven by their stat.
 * 4. No other file system that is mounted inside is entered: the workspace is left as it is then.
 */
import { lstatSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beside } from "../../../domain/workspace-directory.js";
import type { CleanOutcome, CleanWorkspaceRequest } from "../../../ports/git-engine.js";
import { toBytePath, toFsPath } from "../files/byte-path.js";
import { isHostFault } from "../files/fault.js";
import { asHolder, holder, holderUid } from "../files/holder.js";
import { describeMounts, describeRefusal } from "../files/obstruction.js";
import { findWorkspace, isThere, leftoversOf, makeParent } from "../files/place.js";
import { TrashBin } from "../files/trash.js";
import { IndexFile } from "../index/index-file.js";
import { indexPath, readTrustedIndex, type TrustedIndex } from "../index/trusted-index.js";
import { readRefs } from "../mirror/refs.js";
import { checkOutChanges } from "./checkout.js";
import { makeGitDirectory, placeGitDirectory } from "./git-directory.js";
import { finish, type Making, makeWorkspace } from "./prepare.js";
import { type Compared, takeComparison } from "./recent-comparison.js";
import { compareWorkingTree, correctModes } from "./working-tree.js";

export async function cleanWorkspace(request: CleanWorkspaceRequest): Promise<CleanOutcome> {
  const { candidates } = request;
  const mounted = findMount(candidates);
  if (mounted) return mounted;
  try {
    return await clean(request);
  } catch (error) {
    const path = findWorkspace(candidates) ?? request.path;
    const detail = describeRefusal(error, path);
    if (detail === undefined) throw error;
    return { kind: "obstructed", path, detail };
  }
}

async function clean(request: CleanWorkspaceRequest): Promise<CleanOutcome> {
  const { path, candidates, target } = request;
  const bin = new TrashBin(request.trash);
  const found = findWorkspace(candidates);
  if (found !== undefined && found !== path) {
    if (isThere(path)) bin.take(path);
    makeParent(path);
    renameSync(found, path);
  }
  for (const place of candidates) {
    if (place !== path && isThere(place)) bin.take(place);
    for (const leftover of leftoversOf(place)) bin.take(leftover);
  }
  const making: Making = { ...request, table: readRefs(request.mirror) };
  if (found !== undefined && target.commit !== "" && !request.fromScratch) {
    try {
      if (await reuse(making, bin, request.comparedBefore ?? false)) return { kind: "clean", recreated: false };
    } catch (error) {
      // A full disk would defeat a fresh clone as well, and what refuses to go would never leave the trash. But in the
      // two-uid layout it refused the holder: the server may remove what that user may not.
      if (isHostFault(error) || (!holder && describeRefusal(error, path) !== undefined)) throw error;
    }
  }
  if (isThere(path)) bin.take(path);
  await makeWorkspace(making);
  return { kind: "clean", recreated: true };
}

/** Nothing has been touched yet. */
function findMount(candidates: readonly string[]): CleanOutcome | undefined {
  for (const place of candidates) {
    const detail = isThere(place) ? describeMounts(place) : undefined;
    if (detail !== undefined) return { kind: "obstructed", path: place, detail };
  }
  return undefined;
}

function compareAnew(path: string, trusted: TrustedIndex): Compared {
  const index = new IndexFile(trusted.bytes);
  return { index, comparison: compareWorkingTree(path, index, trusted.writtenMs) };
}

/** Cleans the files at `path` in place. False if there is no trusted index to judge them by. */
async function reuse(making: Making, bin: TrashBin, comparedBefore: boolean): Promise<boolean> {
  const { path, trustedIndex, target } = making;
  const trusted = readTrustedIndex(trustedIndex);
  // What was made in another layout is not the holder's to change.
  if (!trusted || lstatSync(path).uid !== holderUid()) return false;
  const git = join(path, ".git");
  if (isThere(git)) bin.take(git);
  const root = toBytePath(path);
  const { index, comparison } = asHolder(() => {
    const recent = comparedBefore ? takeComparison(path, trusted.bytes) : undefined;
    const compared = recent ?? compareAnew(path, trusted);
    correctModes(path, compared.comparison.directories);
    return compared;
  });
  const strangers = comparison.strangers.map((stranger) => toFsPath(`${root}/${stranger}`));
  // since they were compared some may have been kept for the next holder
  bin.takeInside(asHolder(() => strangers.filter((place) => lstatSync(place, { throwIfNoEntry: false }))));
  asHolder(() => {
    for (const submodule of comparison.missingSubmodules)
      mkdirSync(toFsPath(`${root}/${submodule}`), { recursive: true });
  });

  const work = path + beside.made;
  await makeGitDirectory(work, making);
  writeFileSync(indexPath(work), trusted.bytes);
  placeGitDirectory(work, path);
  const touched = [...comparison.missing, ...comparison.altered].map((position) => index.paths[position] as string);
  await checkOutChanges(path, trusted.commit, target.commit, touched);
  await finish(making, trusted);
  return true;
}
