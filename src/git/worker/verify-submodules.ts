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
import type { SubmoduleTarget } from "../../ports/git-engine.js";
import { toBytePath } from "./byte-path.js";
import type { Findings } from "./findings.js";
import { parseCommit } from "./git-object.js";
import { IndexFile } from "./index-file.js";
import { treeOfIndex } from "./index-tree.js";
import { ObjectStore } from "./object-store.js";
import type { KnownModule } from "./trusted-modules.js";
import { verifyFiles } from "./verify-files.js";
import { verifyLfs } from "./verify-lfs.js";

const origin = "refs/remotes/origin/";
const directories = /^(hooks|info|logs|logs\/refs|objects|refs|objects\/(info|pack|[0-9a-f]{2})|(logs\/)?refs\/.+)$/;
const objects = /^objects\/([0-9a-f]{2}\/[0-9a-f]{38}|pack\/pack-[0-9a-f]{40}\.(pack|idx))$/;
const settings =
  /^(\[(core|user|remote "origin"|branch ".+")\]|\t(bare = false|repositoryformatversion = 0|filemode = true|logallrefupdates = true|fetch = \+refs\/heads\/\*:refs\/remotes\/origin\/\*|remote = origin|merge = .+|name = .+|email = .+)|)$/;

/** Byte paths of submodules that are to be filled, in their superproject. */
export function filledSubmodules(submodules: readonly SubmoduleTarget[] = []): ReadonlySet<string> {
  return new Set(submodules.filter(({ update }) => update !== "none").map(({ path }) => toBytePath(path)));
}

/** What the end of a superproject's configuration says of its submodules. */
export function submoduleSettings(submodules: readonly SubmoduleTarget[] = [], isNested: boolean): string {
  let text = submodules.length > 0 && !isNested ? "[submodule]\n\tactive = .\n" : "";
  for (const { name, url, update } of submodules) {
    text += `[submodule ${inQuotes(name)}]\n${isNested ? "\tactive = true\n" : ""}\turl = ${inQuotes(url)}\n`;
    if (update !== "") text += `\tupdate = ${update}\n`;
  }
  return text;
}

/** Answers how many files were compared. */
export function verifySubmodules(
  root: string,
  submodules: readonly SubmoduleTarget[] | undefined,
  known: readonly KnownModule[],
  deep: boolean,
  findings: Findings,
): number {
  let files = 0;
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
      const lfs = verifyLfs(join(root, directory), submodule, deep, inner);
      files += verifyFiles(place, index, { trustedMs: trusted.writtenMs, deep, submodules: filled, lfs }, inner);
      verifyPointer(join(place, ".git"), relative(place, join(root, directory)), inner);
      const worktree = relative(join(root, directory), place);
      gits.set(directory, (name) => judge(name, submodule, trusted.bytes, worktree));
      verify(path, directory, submodule.submodules);
    }
  };
  verify("", ".git", submodules ?? []);
  verifyModules(root, gits, findings);
  return files;
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
  const pending: { readonly at: string; readonly git: string | undefined }[] = [{ at: top, git: undefined }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { at, git } = next;
    for (const entry of readdirSync(join(root, at), { withFileTypes: true })) {
      const path = `${at}/${entry.name}`;
      if (onTheWay.has(path) && entry.isDirectory()) {
        pending.push({ at: path, git: gits.has(path) ? path : undefined });
        continue;
      }
      const name = git === undefined ? undefined : path.slice(git.length + 1);
      if (name === "lfs" && entry.isDirectory()) continue;
      if (name !== undefined && entry.isDirectory() && directories.test(name)) pending.push({ at: path, git });
      else if (name === undefined || !entry.isFile()) findings.add(`${path}: is not of a clone`);
      else if (!objects.test(name)) {
        const isRight = gits.get(git as string)?.(name);
        if (!isRight) findings.add(`${path}: is not of a clone`);
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

function inQuotes(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&")}"`;
}
