/**
 * Owns the proof that a workspace's submodules are those of its commit: files, `.git` files, and git directories, by an
 * allow-list as the workspace's own.
 *
 * Invariants:
 * 1. What is to be there comes from the request and from the mirrors' commits; the trusted indexes must add up to them.
 * 2. Below `.git/modules` nothing else is: every entry is a git directory of the request, or on the way to one.
 */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import type { SubmoduleTarget, VerifyWorkspaceRequest } from "../../../ports/git-engine.js";
import { toBytePath } from "../files/byte-path.js";
import { asHolder } from "../files/holder.js";
import { IndexFile } from "../index/index-file.js";
import { treeOfIndex } from "../index/index-tree.js";
import type { KnownModule } from "../index/trusted-modules.js";
import { readRefs } from "../mirror/refs.js";
import { parseCommit } from "../objects/git-object.js";
import { ObjectStore } from "../objects/object-store.js";
import type { Findings } from "./findings.js";
import { expectedConfig, inQuotes, submoduleSettings } from "./verify-config.js";
import { verifyContent } from "./verify-content.js";
import { makingIn, verifyFiles } from "./verify-files.js";
import { type Content, filesOfAnyClone, isCloneLog, verifyNames } from "./verify-git-directory.js";
import { verifyLfs } from "./verify-lfs.js";
import { neededIds, verifyObjects } from "./verify-objects.js";
import { type ClonedRefs, clonedRefs } from "./verify-refs.js";

const origin = "refs/remotes/origin/";

/** Byte paths of submodules that are to be filled, in their superproject. */
export function filledSubmodules(submodules: readonly SubmoduleTarget[] = []): ReadonlySet<string> {
  return new Set(submodules.filter(({ update }) => update !== "none").map(({ path }) => toBytePath(path)));
}

/** What is left to be proven of a submodule, when the holder's rights are no longer needed. */
interface Module {
  readonly place: string;
  readonly git: string;
  readonly submodule: SubmoduleTarget;
  readonly index: IndexFile;
  readonly indexBytes: Buffer;
  /** Positions of files whose bytes are to be compared. */
  readonly unproven: readonly number[];
  readonly lfs: ReadonlyMap<string, string>;
  readonly findings: Prefixed;
}

/** Answers how many files were compared. `scratch`: an absent directory. */
export async function verifySubmodules(
  request: VerifyWorkspaceRequest,
  scratch: string,
  known: readonly KnownModule[],
  findings: Findings,
): Promise<number> {
  const modules = asHolder(() => verifyPlaces(request, known, findings));
  let files = 0;
  for (const module of modules) {
    const { place: path, submodule, index, unproven, lfs } = module;
    files += index.length;
    const objectsPath = join(submodule.mirror, "objects");
    const store = ObjectStore.of(objectsPath);
    try {
      const content = { path, commit: submodule.commit, objectsPath, objects: store, scratch, lfs };
      await verifyContent(content, index, unproven, module.findings);
    } finally {
      store.close();
    }
    if (lstatSync(module.git, { throwIfNoEntry: false })?.isDirectory()) verifyModule(request, module);
    else module.findings.add("its git directory is missing");
  }
  return files;
}

function verifyPlaces(
  { path: root, target, deep }: VerifyWorkspaceRequest,
  known: readonly KnownModule[],
  findings: Findings,
): Module[] {
  const found: Module[] = [];
  const gits = new Set<string>();
  const verify = (work: string, git: string, list: readonly SubmoduleTarget[]): void => {
    for (const submodule of list) {
      if (submodule.update === "none") continue;
      const path = work === "" ? submodule.path : `${work}/${submodule.path}`;
      const directory = `${git}/modules/${submodule.name}`;
      const { trusted } = known.find((one) => one.path === path && one.git === directory) ?? {};
      if (trusted?.commit !== submodule.commit) {
        findings.add(`submodule ${path}: what was checked out is not known`);
        continue;
      }
      const index = new IndexFile(trusted.bytes);
      if (treeOfIndex(index) !== treeOf(submodule)) findings.add(`submodule ${path}: its index is not the commit's`);
      const place = join(root, path);
      if (!lstatSync(place, { throwIfNoEntry: false })?.isDirectory()) {
        findings.add(`submodule ${path}: is missing`);
        continue;
      }
      const inner = new Prefixed(findings, path);
      const own = join(root, directory);
      const isGit = lstatSync(own, { throwIfNoEntry: false })?.isDirectory() ?? false;
      const lfs = verifyLfs(isGit ? own : undefined, submodule, deep, inner);
      const trust = { trustedMs: trusted.writtenMs, deep, submodules: filledSubmodules(submodule.submodules) };
      const unproven = verifyFiles(place, index, trust, inner);
      verifyPointer(join(place, ".git"), relative(place, own), inner);
      found.push({ place, git: own, submodule, index, indexBytes: trusted.bytes, unproven, lfs, findings: inner });
      gits.add(directory);
      verify(path, directory, submodule.submodules);
    }
  };
  verify("", ".git", target.submodules ?? []);
  verifyModules(root, gits, findings);
  return found;
}

/** Its git directory. */
function verifyModule(request: VerifyWorkspaceRequest, module: Module): void {
  const { git, submodule, index, findings } = module;
  const refs = clonedRefs(git, submodule.mirror, readRefs(submodule.mirror), findings);
  const add = (name: string, fault: string): void => findings.add(`git directory${name && `: ${name}`}: ${fault}`);
  const files = expectedFiles(request, module, refs);
  asHolder(() => verifyNames(git, makingIn(request.path), files, add));
  const objects = join(git, "objects");
  if (!lstatSync(objects, { throwIfNoEntry: false })?.isDirectory()) return;
  const needed = () => neededIds(submodule.commit, refs, request.deep ? index : undefined);
  const storage = request.objectStorage ?? "AUTO";
  const mirror = join(submodule.mirror, "objects");
  verifyObjects({ workspace: request.path, objects, mirror, storage, deep: request.deep, needed }, findings);
}

/** The branch of the upstream's HEAD stays at its tip; HEAD itself is taken to the commit from there. */
function expectedFiles(
  request: VerifyWorkspaceRequest,
  { git, place, submodule, indexBytes }: Module,
  refs: ClonedRefs,
): Map<string, Content> {
  const { commit, url } = submodule;
  const branch = refs.head?.slice(origin.length);
  const { submodules: _, ...target } = request.target;
  const follows = branch === undefined ? undefined : `refs/heads/${branch}`;
  const config = expectedConfig({ ...request, origin: url, target }, follows);
  const worktree = `[core]\n\tworktree = ${inQuotes(relative(git, place))}\n`;
  const files = new Map<string, Content>([
    ["HEAD", `${commit}\n`],
    ["config", config + worktree + submoduleSettings(submodule.submodules, true)],
    ["index", indexBytes],
    ...filesOfAnyClone(refs, url),
  ]);
  const tip = refs.refs.get(refs.head ?? "")?.id;
  if (branch === undefined || tip === undefined) return files.set("logs/HEAD", (text) => isCloneLog(text, commit, url));
  const moved = `\tcheckout: moving from ${branch} to ${commit}\n`;
  files.set("logs/HEAD", (text) => {
    const end = text.indexOf("\n") + 1;
    const second = text.slice(end);
    const isMove =
      second.startsWith(`${tip} ${commit} `) && second.endsWith(moved) && !second.slice(0, -1).includes("\n");
    return isCloneLog(text.slice(0, end), tip, url) && isMove;
  });
  return files
    .set(`refs/heads/${branch}`, `${tip}\n`)
    .set(`logs/refs/heads/${branch}`, (text) => isCloneLog(text, tip, url));
}

/** Tells findings of a submodule with its path. */
class Prefixed {
  private readonly findings: Pick<Findings, "add">;
  private readonly path: string;

  constructor(findings: Pick<Findings, "add">, path: string) {
    this.findings = findings;
    this.path = path;
  }

  add(finding: string): void {
    this.findings.add(`submodule ${this.path}: ${finding}`);
  }
}

function treeOf({ mirror, commit }: SubmoduleTarget): string {
  const store = ObjectStore.of(join(mirror, "objects"));
  try {
    return parseCommit(store.read(commit, "commit")).tree;
  } finally {
    store.close();
  }
}

function verifyPointer(file: string, target: string, findings: Pick<Findings, "add">): void {
  const stat = lstatSync(file, { throwIfNoEntry: false });
  if (!stat?.isFile() || stat.nlink !== 1) findings.add(".git: is no file of its own");
  else if (readFileSync(file, "utf8") !== `gitdir: ${target}\n`) findings.add(".git: content");
}

/** Invariant 2. */
function verifyModules(root: string, gits: ReadonlySet<string>, findings: Findings): void {
  const top = ".git/modules";
  const onTheWay = new Set<string>();
  for (const git of gits) {
    for (let at = git; at.length >= top.length; at = at.slice(0, at.lastIndexOf("/"))) onTheWay.add(at);
  }
  const there = lstatSync(join(root, top), { throwIfNoEntry: false });
  if (gits.size === 0) {
    if (there) findings.add(`${top}: is not of a clone`);
    return;
  }
  if (!there?.isDirectory()) return findings.add(`${top}: is no directory`);
  const { mode, uid, gid } = makingIn(root);
  const pending = [top];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    const stat = lstatSync(join(root, at));
    if ((stat.mode & 0o7777) !== mode) findings.add(`${at}: a directory with other permissions`);
    else if (stat.uid !== uid || stat.gid !== gid) findings.add(`${at}: belongs to another user`);
    for (const entry of readdirSync(join(root, at), { withFileTypes: true })) {
      const path = `${at}/${entry.name}`;
      if (onTheWay.has(path) && entry.isDirectory()) pending.push(path);
      // the rest of a git directory is judged by what is in it
      else if (!gits.has(at) || entry.name === "modules") findings.add(`${path}: is not of a clone`);
    }
  }
}
