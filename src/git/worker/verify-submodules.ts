/**
 * Owns the proof that a workspace's submodules are those of its commit: files, `.git` files, and git directories, by an
 * allow-list as the workspace's own.
 *
 * Invariants:
 * 1. What is to be there comes from the request and from the mirrors' commits; the trusted indexes must add up to them.
 * 2. Below `.git/modules` nothing else is: every entry is a git directory of the request, or on the way to one.
 */
import { lstatSync, readdirSync, readFileSync, type Stats } from "node:fs";
import { join, relative } from "node:path";
import type { SubmoduleTarget } from "../../ports/git-engine.js";
import { toBytePath } from "./byte-path.js";
import type { Findings } from "./findings.js";
import { parseCommit } from "./git-object.js";
import { asHolder } from "./holder.js";
import { IndexFile } from "./index-file.js";
import { treeOfIndex } from "./index-tree.js";
import { ObjectStore } from "./object-store.js";
import type { KnownModule } from "./trusted-modules.js";
import { inQuotes, submoduleSettings } from "./verify-config.js";
import { verifyContent } from "./verify-content.js";
import { makingIn, verifyFiles } from "./verify-files.js";
import { verifyLfs } from "./verify-lfs.js";

const origin = "refs/remotes/origin/";
const directories = /^(hooks|info|logs|logs\/refs|objects|refs|objects\/(info|pack|[0-9a-f]{2})|(logs\/)?refs\/.+)$/;
const objects = /^objects\/([0-9a-f]{2}\/[0-9a-f]{38}|pack\/pack-[0-9a-f]{40}\.(pack|idx))$/;
/** Of a file whose content is told by a rule. */
const mostBytes = 1 << 16;
const settings =
  /^(\[(core|user|remote "origin"|branch ".+")\]|\t(bare = false|repositoryformatversion = 0|filemode = true|logallrefupdates = true|fetch = \+refs\/heads\/\*:refs\/remotes\/origin\/\*|remote = origin|merge = .+|name = .+|email = .+)|)$/;

/** Byte paths of submodules that are to be filled, in their superproject. */
export function filledSubmodules(submodules: readonly SubmoduleTarget[] = []): ReadonlySet<string> {
  return new Set(submodules.filter(({ update }) => update !== "none").map(({ path }) => toBytePath(path)));
}

interface Place {
  /** The workspace. */
  readonly root: string;
  /** An absent directory. */
  readonly scratch: string;
  readonly deep: boolean;
}

/** What is left to be compared of a submodule. */
interface Unproven {
  readonly place: string;
  readonly submodule: SubmoduleTarget;
  readonly index: IndexFile;
  readonly positions: readonly number[];
  readonly lfs: ReadonlyMap<string, string>;
  readonly findings: Pick<Findings, "add">;
}

/** Answers how many files were compared. */
export async function verifySubmodules(
  place: Place,
  submodules: readonly SubmoduleTarget[] | undefined,
  known: readonly KnownModule[],
  findings: Findings,
): Promise<number> {
  const modules = asHolder(() => verifyPlaces(place, submodules, known, findings));
  let files = 0;
  for (const { place: path, submodule, index, positions, lfs, findings: inner } of modules) {
    files += index.length;
    const objectsPath = join(submodule.mirror, "objects");
    const store = ObjectStore.of(objectsPath);
    try {
      const content = { path, commit: submodule.commit, objectsPath, objects: store, scratch: place.scratch, lfs };
      await verifyContent(content, index, positions, inner);
    } finally {
      store.close();
    }
  }
  return files;
}

function verifyPlaces(
  { root, deep }: Place,
  submodules: readonly SubmoduleTarget[] | undefined,
  known: readonly KnownModule[],
  findings: Findings,
): Unproven[] {
  const found: Unproven[] = [];
  const gits = new Map<string, (name: string) => ((bytes: Buffer) => boolean) | undefined>();
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
      const filled = filledSubmodules(submodule.submodules);
      const isGit = lstatSync(join(root, directory), { throwIfNoEntry: false })?.isDirectory() ?? false;
      if (!isGit) inner.add("its git directory is missing");
      const lfs = verifyLfs(isGit ? join(root, directory) : undefined, submodule, deep, inner);
      const trust = { trustedMs: trusted.writtenMs, deep, submodules: filled };
      const positions = verifyFiles(place, index, trust, inner);
      found.push({ place, submodule, index, positions, lfs, findings: inner });
      verifyPointer(join(place, ".git"), relative(place, join(root, directory)), inner);
      const worktree = relative(join(root, directory), place);
      gits.set(directory, (name) => judge(name, submodule, trusted.bytes, worktree));
      verify(path, directory, submodule.submodules);
    }
  };
  verify("", ".git", submodules ?? []);
  verifyModules(root, gits, findings);
  return found;
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
function verifyModules(
  root: string,
  gits: ReadonlyMap<string, (name: string) => ((bytes: Buffer) => boolean) | undefined>,
  findings: Findings,
): void {
  const top = ".git/modules";
  const onTheWay = new Set<string>();
  for (const git of gits.keys()) {
    for (let at = git; at.length >= top.length; at = at.slice(0, at.lastIndexOf("/"))) onTheWay.add(at);
  }
  const there = lstatSync(join(root, top), { throwIfNoEntry: false });
  if (gits.size === 0) {
    if (there) findings.add(`${top}: is not of a clone`);
    return;
  }
  const making = makingIn(root);
  const isOwned = ({ uid, gid }: Stats): boolean => uid === making.uid && gid === making.gid;
  const judgeDirectory = (path: string): void => {
    const stat = lstatSync(join(root, path));
    if ((stat.mode & 0o7777) !== making.mode || !isOwned(stat)) findings.add(`${path}: has other permissions`);
  };
  if (there?.isDirectory()) judgeDirectory(top);
  else return findings.add(`${top}: is no directory`);
  const pending: { readonly at: string; readonly git: string | undefined }[] = [{ at: top, git: undefined }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { at, git } = next;
    for (const entry of readdirSync(join(root, at), { withFileTypes: true })) {
      const path = `${at}/${entry.name}`;
      if (onTheWay.has(path) && entry.isDirectory()) {
        judgeDirectory(path);
        pending.push({ at: path, git: gits.has(path) ? path : undefined });
        continue;
      }
      const name = git === undefined ? undefined : path.slice(git.length + 1);
      if (name === "lfs" && entry.isDirectory()) continue;
      if (name !== undefined && entry.isDirectory() && directories.test(name)) {
        judgeDirectory(path);
        pending.push({ at: path, git });
      } else if (name === undefined || !entry.isFile()) findings.add(`${path}: is not of a clone`);
      else if (!objects.test(name)) {
        const isRight = gits.get(git as string)?.(name);
        const stat = lstatSync(join(root, path));
        const permissions = (name.startsWith("hooks/") ? 0o777 : 0o666) & ~making.umask;
        if (!isRight) findings.add(`${path}: is not of a clone`);
        else if ((stat.mode & 0o7777) !== permissions || !isOwned(stat) || stat.nlink !== 1) {
          findings.add(`${path}: has other permissions`);
        } else if (stat.size > mostBytes && name !== "index" && name !== "packed-refs")
          findings.add(`${path}: content`);
        else if (!isRight(readFileSync(join(root, path)))) findings.add(`${path}: content`);
      }
    }
  }
}

/** What a file of a submodule's git directory may say; undefined for one that must not be there. */
function judge(
  name: string,
  { commit, url, submodules }: SubmoduleTarget,
  index: Buffer,
  worktree: string,
): ((bytes: Buffer) => boolean) | undefined {
  switch (name) {
    case "HEAD":
      return (bytes) => bytes.toString() === `${commit}\n`;
    case "index":
      return (bytes) => bytes.equals(index);
    case "config": {
      const end = `[core]\n\tworktree = ${inQuotes(worktree)}\n${submoduleSettings(submodules, true)}`;
      return (bytes) => isClones(bytes.toString(), end, url);
    }
    case "packed-refs":
      return (bytes) =>
        bytes
          .toString()
          .split("\n")
          .every((line) => /^($|# |\^[0-9a-f]{40}$|[0-9a-f]{40} refs\/(?:remotes\/origin|tags)\/.+$)/.test(line));
    case "info/exclude":
      return (bytes) => /^((#.*)?\n)*$/.test(bytes.toString());
    case "description":
    case "hooks/README.sample":
      return () => true;
    case `${origin}HEAD`:
      return (bytes) => bytes.toString().startsWith(`ref: ${origin}`);
  }
  if (/^refs\/heads\/.+/.test(name)) return (bytes) => /^[0-9a-f]{40}\n$/.test(bytes.toString());
  if (name === "logs/HEAD") return (bytes) => bytes.toString().split("\n").length <= 3;
  if (name === `logs/${origin}HEAD` || /^logs\/refs\/heads\/.+/.test(name)) {
    return (bytes) => bytes.toString().split("\n").length === 2;
  }
  return undefined;
}

function isClones(config: string, end: string, url: string): boolean {
  if (!config.endsWith(end)) return false;
  const lines = config.slice(0, -end.length).split("\n");
  const urls = lines.filter((line) => line.startsWith("\turl"));
  const rest = lines.filter((line) => !line.startsWith("\turl"));
  return urls.join("\n") === `\turl = ${inQuotes(url)}` && rest.every((line) => settings.test(line));
}
