/**
 * Owns making a workspace, and moving a clean one to another commit.
 *
 * Invariants:
 * 1. Afterwards the workspace is what a fresh clone at the target would be, whichever way was taken.
 * 2. What stands in the way of a fresh clone is renamed aside first, never merged with.
 * 3. While files are being moved there is no trusted index, so that the next call makes a fresh clone.
 */
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beside } from "../../../domain/workspace-directory.js";
import type { CheckoutTarget, PrepareWorkspaceRequest, WorkspaceIdentity } from "../../../ports/git-engine.js";
import { isHostFault } from "../files/fault.js";
import { isDirectory, isThere, leftoversOf, makeWorkspaceDirectory } from "../files/place.js";
import { removeTree } from "../files/trash.js";
import { IndexFile } from "../index/index-file.js";
import {
  indexPath,
  readTrustedIndex,
  removeTrustedIndex,
  saveTrustedIndex,
  type TrustedIndex,
} from "../index/trusted-index.js";
import { saveTrustedModules } from "../index/trusted-modules.js";
import { type RefTable, readRefs } from "../mirror/refs.js";
import { placeLfsFiles } from "../modules/lfs-checkout.js";
import { emptySubmodules, placeSubmodules } from "../modules/submodules.js";
import { checkOutAll, checkOutChanges } from "./checkout.js";
import { makeGitDirectory, placeGitDirectory } from "./git-directory.js";

export async function prepareWorkspace(request: PrepareWorkspaceRequest): Promise<void> {
  const { mirror, path, from } = request;
  for (const leftover of leftoversOf(path)) removeTree(leftover);
  const table = readRefs(mirror);
  const target = targetOf(request, table);
  const trusted = from ? readTrustedIndex(request.trustedIndex) : undefined;
  if (trusted && target.commit && isDirectory(path) && isDirectory(join(path, ".git"))) {
    try {
      return await moveWorkspace({ ...request, table, target }, trusted);
    } catch (error) {
      if (isHostFault(error)) throw error;
    }
  }
  const aside = `${path}${beside.aside}`;
  if (isThere(path)) renameSync(path, aside);
  await makeWorkspace({ ...request, table, target });
  removeTree(aside);
}

/** A fresh clone at `path`, where nothing is. */
export async function makeWorkspace(request: Making): Promise<void> {
  const { path, target } = request;
  const work = `${path}${beside.made}`;
  await makeGitDirectory(work, request);
  makeWorkspaceDirectory(path);
  placeGitDirectory(work, path);
  if (target.commit !== "") await checkOutAll(path, target.commit);
  await finish(request);
}

/** Places what a checkout alone does not bring, and vouches for everything. `trusted`: what vouched for files before. */
export async function finish(request: Making, trusted?: TrustedIndex): Promise<void> {
  const { path, target, trustedIndex, mirror, objectStorage } = request;
  if (target.lfs) {
    const place = { work: path, git: join(path, ".git"), mirror, commit: target.commit };
    placeLfsFiles({ ...place, ...(objectStorage && { objectStorage }) }, trusted);
  }
  const placed = await placeSubmodules(path, target.submodules, request);
  saveTrustedModules(trustedIndex, target.commit, placed);
  saveTrustedIndex(path, target.commit, trustedIndex);
}

export interface Making extends WorkspaceIdentity {
  readonly mirror: string;
  readonly path: string;
  readonly trustedIndex: string;
  readonly table: RefTable;
  readonly target: CheckoutTarget;
}

/** Moves the clean workspace to the target: a fresh `.git`, and only the files that differ. */
async function moveWorkspace(request: Making, trusted: TrustedIndex): Promise<void> {
  const { path, trustedIndex, target } = request;
  const replaced = `${path}${beside.replaced}`;
  const work = `${path}${beside.made}`;
  await makeGitDirectory(work, request);
  writeFileSync(indexPath(work), trusted.bytes);
  // A killed attempt leaves files of two commits and nothing that vouches for them (invariant 3).
  removeTrustedIndex(trustedIndex);
  renameSync(join(path, ".git"), replaced);
  placeGitDirectory(work, path);
  const aside = emptySubmodules(path, new IndexFile(trusted.bytes));
  await checkOutChanges(path, trusted.commit, target.commit, []);
  await finish(request, trusted);
  removeTree(replaced);
  removeTree(aside);
}

/** A new branch follows `origin` only if a branch of its name is there. */
function targetOf(request: PrepareWorkspaceRequest, table: RefTable): CheckoutTarget {
  if (request.branch === undefined || request.branch === "") return request.target;
  const head = `refs/heads/${request.branch}`;
  return { ...request.target, head, tracking: table.refs.has(head) };
}
