/**
 * Owns the submodules of a workspace: their git directories below `.git/modules`, and their files.
 *
 * Invariants:
 * 1. Each is made anew, as a clone of its mirror beside the workspace, and renamed into its place when whole.
 * 2. Nothing of what stood at its place is used: what is there is moved away before.
 * 3. A place is used only if every directory on the way to it is a real one. What is done inside the workspace is done with
 *    the holder's rights.
 */
import { appendFileSync, lstatSync, mkdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { beside } from "../../../domain/workspace-directory.js";
import type { SubmoduleTarget, WorkspaceIdentity } from "../../../ports/git-engine.js";
import { toBytePath, toFsPath } from "../files/byte-path.js";
import { asHolder, giveToHolder } from "../files/holder.js";
import { isDirectory } from "../files/place.js";
import { removeTree } from "../files/trash.js";
import type { IndexFile } from "../index/index-file.js";
import type { TrustedModule } from "../index/trusted-modules.js";
import { readRefs } from "../mirror/refs.js";
import { isSubmodule } from "../objects/git-object.js";
import { checkOutAll } from "../workspace/checkout.js";
import { makeGitDirectory, placeGitDirectory, quote, submoduleConfiguration } from "../workspace/git-directory.js";
import { placeLfsFiles } from "./lfs-checkout.js";

const heads = "refs/heads/";

/** Fills the places of the submodules of a workspace whose own files are checked out. */
export async function placeSubmodules(
  root: string,
  submodules: readonly SubmoduleTarget[] | undefined,
  identity: WorkspaceIdentity,
): Promise<readonly TrustedModule[]> {
  const placed: TrustedModule[] = [];
  const placeAll = async (work: string, git: string, list: readonly SubmoduleTarget[]): Promise<void> => {
    for (const submodule of list) {
      if (submodule.update === "none") continue;
      const path = work === "" ? submodule.path : `${work}/${submodule.path}`;
      const directory = `${git}/modules/${submodule.name}`;
      const index = await place(root, { path, directory }, submodule, identity);
      placed.push({ path, git: directory, mirror: submodule.mirror, commit: submodule.commit, index });
      await placeAll(path, directory, submodule.submodules);
    }
  };
  await placeAll("", ".git", submodules ?? []);
  return placed;
}

/** Answers the bytes of its index. */
async function place(
  root: string,
  at: { readonly path: string; readonly directory: string },
  submodule: SubmoduleTarget,
  identity: WorkspaceIdentity,
): Promise<Buffer> {
  const { mirror, url, commit } = submodule;
  const staged = root + beside.module;
  removeTree(staged);
  const table = readRefs(mirror);
  const isOnBranch = table.head.startsWith(heads) && table.refs.has(table.head);
  const tip = isOnBranch ? (table.refs.get(table.head)?.id ?? commit) : commit;
  const target = { commit: tip, head: isOnBranch ? table.head : "", tracking: isOnBranch };
  const { author, objectStorage } = identity;
  const more = { ...(author && { author }), ...(objectStorage && { objectStorage }) };
  const making = join(staged, "git");
  await makeGitDirectory(making, { ...more, mirror, table, target, origin: url });
  if (isOnBranch) detach(join(making, ".git"), table.head.slice(heads.length), tip, commit);
  const files = join(staged, "files");
  mkdirSync(files);
  giveToHolder(files);
  placeGitDirectory(making, files);
  giveToHolder(staged);
  await checkOutAll(files, commit);

  const made = join(files, ".git");
  if (submodule.lfs) {
    const kept = objectStorage && { objectStorage };
    placeLfsFiles({ work: files, git: made, mirror, commit, ...kept }, undefined);
  }
  const work = join(root, at.path);
  const git = join(root, at.directory);
  const settings = `[core]\n\tworktree = ${quote(relative(git, work))}\n`;
  const index = asHolder(() => {
    appendFileSync(join(made, "config"), settings + submoduleConfiguration(submodule.submodules, true));
    const bytes = readFileSync(join(made, "index"));
    makeRealDirectories(root, dirname(at.directory));
    renameSync(made, git);
    makeRealDirectories(root, dirname(at.path));
    if (isDirectory(work)) rmdirSync(work);
    renameSync(files, work);
    writeFileSync(join(work, ".git"), `gitdir: ${relative(work, git)}\n`);
    return bytes;
  });
  removeTree(staged);
  return index;
}

/** As `git submodule update` does after the clone: the branch stays at the upstream's tip. */
function detach(git: string, branch: string, tip: string, commit: string): void {
  const log = join(git, "logs", "HEAD");
  const [, who = ""] = /^\S+ \S+ (.*?)\t/.exec(readFileSync(log, "utf8")) ?? [];
  appendFileSync(log, `${tip} ${commit} ${who}\tcheckout: moving from ${branch} to ${commit}\n`);
  writeFileSync(join(git, "HEAD"), `${commit}\n`);
}

/** Invariant 3: makes what is missing, and throws where something else stands. */
function makeRealDirectories(root: string, path: string): void {
  let at = root;
  for (const part of path.split("/")) {
    if (part === "." || part === "") continue;
    at = join(at, part);
    if (!lstatSync(at, { throwIfNoEntry: false })) mkdirSync(at);
    else if (!isDirectory(at)) throw new Error("the place of a submodule is no directory");
  }
}

/** Moves what is at the places of an index' submodules out of the way, and leaves empty directories. Answers where to. */
export function emptySubmodules(root: string, index: IndexFile): string {
  const aside = root + beside.modules;
  removeTree(aside);
  if (!index.paths.some((_path, position) => isSubmodule(index.mode(position)))) return aside;
  mkdirSync(aside);
  giveToHolder(aside);
  asHolder(() => moveAll(root, index, aside));
  return aside;
}

function moveAll(root: string, index: IndexFile, aside: string): void {
  for (const [position, path] of index.paths.entries()) {
    if (!isSubmodule(index.mode(position))) continue;
    const parts = path.split("/");
    let at = toBytePath(root);
    for (const part of parts) {
      at += `/${part}`;
      const stat = lstatSync(toFsPath(at), { throwIfNoEntry: false });
      if (!stat?.isDirectory()) throw new Error("the place of a submodule is no directory");
    }
    renameSync(toFsPath(at), join(aside, String(position)));
    mkdirSync(toFsPath(at));
  }
}
