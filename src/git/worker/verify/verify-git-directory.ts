/**
 * Owns the proof that a `.git`, but for its objects, is what a fresh clone has: every name, and what each says.
 *
 * Invariants:
 * 1. No file is opened that is not a regular file of a known name and of no more than the size it may have.
 * 2. What each is to say is told here from the request and the mirror's references, not by what makes a `.git`.
 */
import { lstatSync, readdirSync, readFileSync, type Stats } from "node:fs";
import { dirname, join } from "node:path";
import type { VerifyWorkspaceRequest } from "../../../ports/git-engine.js";
import type { Findings } from "./findings.js";
import { expectedConfig } from "./verify-config.js";
import { type Making, makingIn } from "./verify-files.js";
import type { ClonedRefs } from "./verify-refs.js";

const origin = "refs/remotes/origin/";
/** Of the files whose content is told by a rule: more is not read. */
const mostBytes = 1 << 16;
const description = "Unnamed repository; edit this file 'description' to name the repository.\n";
/** libgit2 makes them all. */
const alwaysThere = ["hooks", "info", "objects", "refs", "refs/heads", "refs/tags"];

/** What a file is to say: its text, its bytes, or a rule. */
export type Content = string | Buffer | ((text: string) => boolean);

export function verifyGitDirectory(
  request: VerifyWorkspaceRequest,
  refs: ClonedRefs,
  index: Buffer | undefined,
  findings: Findings,
): void {
  const add = (name: string, fault: string): void => findings.add(`.git${name && `/${name}`}: ${fault}`);
  verifyNames(join(request.path, ".git"), makingIn(request.path), expectedFiles(request, refs, index), add);
}

/** Finds what a git directory has else than `files`, or lacks. Those of submodules, objects and `lfs` are others' to judge. */
export function verifyNames(
  git: string,
  making: Making,
  files: Map<string, Content>,
  add: (name: string, fault: string) => void,
): void {
  const directories = new Set(alwaysThere);
  for (const name of files.keys()) {
    for (let above = dirname(name); above !== "."; above = dirname(above)) directories.add(above);
  }
  const top = lstatSync(git, { throwIfNoEntry: false });
  if (!top?.isDirectory()) return add("", "is no directory");
  const isOwned = (stat: Stats): boolean => stat.uid === making.uid && stat.gid === making.gid;
  const judgeDirectory = (name: string, stat: Stats): void => {
    if ((stat.mode & 0o7777) !== making.mode) add(name, "a directory with other permissions");
    else if (!isOwned(stat)) add(name, "belongs to another user");
  };
  judgeDirectory("", top);
  const pending = [""];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    for (const entry of readdirSync(join(git, at))) {
      const name = at === "" ? entry : `${at}/${entry}`;
      // git directories of submodules, which verify-submodules.ts judges, and contents, which verify-lfs.ts does
      if (name === "modules" || name === "lfs") continue;
      const stat = lstatSync(join(git, name), { throwIfNoEntry: false });
      if (!stat) continue;
      const content = files.get(name);
      if (directories.delete(name)) {
        if (!stat.isDirectory()) add(name, "is no directory");
        else {
          judgeDirectory(name, stat);
          if (name !== "objects") pending.push(name);
        }
      } else if (content === undefined) add(name, "is not of a clone");
      else {
        files.delete(name);
        const permissions = name.startsWith("hooks/") ? 0o777 : 0o666;
        if (!stat.isFile()) add(name, "is no file");
        else if ((stat.mode & 0o7777) !== (permissions & ~making.umask)) add(name, "has other permissions");
        else if (!isOwned(stat)) add(name, "belongs to another user");
        else if (stat.nlink !== 1) add(name, "has other names");
        else if (!isRight(join(git, name), stat, content)) add(name, "has other content");
      }
    }
  }
  for (const name of [...directories, ...files.keys()]) add(name, "is missing");
}

function expectedFiles(
  request: VerifyWorkspaceRequest,
  refs: ClonedRefs,
  index: Buffer | undefined,
): Map<string, Content> {
  const { target, branch } = request;
  const head = branch ? `refs/heads/${branch}` : target.head;
  const tracking = branch ? refs.refs.has(`${origin}${branch}`) : target.tracking && head !== "";
  const files = new Map<string, Content>([
    ["HEAD", head === "" ? `${target.commit}\n` : `ref: ${head}\n`],
    ["config", expectedConfig(request, tracking ? head : undefined)],
    ...filesOfAnyClone(refs, request.origin),
  ]);
  if (index) files.set("index", index);
  const log = (id: string) => (text: string) => isCloneLog(text, id, request.origin);
  if (target.commit === "") return files;
  files.set("logs/HEAD", log(target.commit));
  if (head === "") return files;
  return files.set(head, `${target.commit}\n`).set(`logs/${head}`, log(target.commit));
}

/** What does not depend on what is checked out. */
export function filesOfAnyClone(refs: ClonedRefs, url: string): [string, Content][] {
  const isComment = (text: string): boolean => /^(#[^\n]*\n)*$/.test(text);
  const files: [string, Content][] = [
    ["description", description],
    ["info/exclude", isComment],
    ["hooks/README.sample", isComment],
  ];
  if (refs.text !== undefined) files.push(["packed-refs", refs.text]);
  if (refs.head === undefined) return files;
  const id = refs.refs.get(refs.head)?.id ?? "";
  files.push([`${origin}HEAD`, `ref: ${refs.head}\n`]);
  files.push([`logs/${origin}HEAD`, (text) => isCloneLog(text, id, url)]);
  return files;
}

function isRight(path: string, stat: Stats, content: Content): boolean {
  if (typeof content === "function") return stat.size <= mostBytes && content(readFileSync(path, "utf8"));
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  return stat.size === bytes.length && readFileSync(path).equals(bytes);
}

/** One line, of a clone. */
export function isCloneLog(text: string, id: string, url: string): boolean {
  const [line = "", ...rest] = text.split("\n");
  const [entry = "", ...message] = line.split("\t");
  if (rest.join("\n") !== "" || !text.endsWith("\n") || message.join("\t") !== `clone: from ${url}`) return false;
  return entry.startsWith(`${"0".repeat(40)} ${id} `) && /^[^<>]* <[^<>]*> \d+ \+0000$/.test(entry.slice(82));
}
