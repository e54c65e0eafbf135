/**
 * Owns making the `.git` of a workspace: what `git clone` of the upstream would have made, from the mirror.
 *
 * Invariants:
 * 1. Made from the mirror and the request alone; nothing of an earlier `.git` flows in.
 * 2. Complete in itself: objects are linked or copied, never borrowed (`objects/info/alternates`).
 * 3. It shows the upstream's branches and tags, one local branch at most, and nothing else that the mirror has.
 * 4. No trace of the mirror's path.
 */
import { appendFileSync, chmodSync, lstatSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { CheckoutTarget, SubmoduleTarget, WorkspaceIdentity } from "../../../ports/git-engine.js";
import { giveToHolder, holder } from "../files/holder.js";
import { makeParent } from "../files/place.js";
import { removeTree } from "../files/trash.js";
import { formatPacked, isRefName, type Ref, type RefTable } from "../mirror/refs.js";
import { git } from "../nodegit.js";
import { transferObjects } from "../objects/object-transfer.js";

const zeroId = "0".repeat(40);
const origin = "refs/remotes/origin/";
const heads = "refs/heads/";

export interface GitDirectoryRequest extends WorkspaceIdentity {
  readonly mirror: string;
  readonly table: RefTable;
  readonly target: CheckoutTarget;
}

/** Makes `<work>/.git`, with `work` as an empty directory around it that the caller moves it out of. */
export async function makeGitDirectory(work: string, request: GitDirectoryRequest): Promise<void> {
  removeTree(work);
  makeParent(work);
  // nobody else gets to it before it is whole
  mkdirSync(work, { mode: 0o700 });
  const repository = await git.Repository.init(work, 0);
  repository.cleanup();
  const directory = join(work, ".git");
  const { mirror, objectStorage: storage } = request;
  transferObjects({ from: join(mirror, "objects"), to: join(directory, "objects"), storage });
  appendFileSync(join(directory, "config"), configuration(request));
  writeRefs(directory, request);
}

/** Puts the `.git` that was made in `work` in its place. Nothing may be there. */
export function placeGitDirectory(work: string, path: string): void {
  if (holder) handOver(join(work, ".git"));
  renameSync(join(work, ".git"), join(path, ".git"));
  removeTree(work);
}

/** Gives all of it to the holder but what it shares with the mirror, which the holder can read and not change. */
function handOver(directory: string): void {
  giveToHolder(directory);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) handOver(path);
    else {
      const { nlink, mode } = lstatSync(path);
      if (nlink === 1) giveToHolder(path);
      else if ((mode & 0o7777) !== 0o444) chmodSync(path, 0o444);
    }
  }
}

function writeRefs(directory: string, request: GitDirectoryRequest): void {
  const { table, target } = request;
  const refs = new Map<string, Ref>();
  for (const [name, ref] of table.refs) {
    if (name.startsWith(heads)) refs.set(origin + name.slice(heads.length), ref);
    else if (name.startsWith("refs/tags/")) refs.set(name, ref);
  }
  if (refs.size > 0) writeFileSync(join(directory, "packed-refs"), formatPacked(refs));

  const defaultRef = origin + table.head.slice(heads.length);
  if (table.head.startsWith(heads) && refs.has(defaultRef)) {
    writeBelow(directory, `${origin}HEAD`, `ref: ${defaultRef}\n`);
    writeBelow(directory, `logs/${origin}HEAD`, reflogLine(refs.get(defaultRef)?.id ?? zeroId, request));
  }
  if (target.head !== "" && !isRefName(target.head)) throw new Error("not a ref name");
  const head = target.head === "" ? target.commit : `ref: ${target.head}`;
  writeFileSync(join(directory, "HEAD"), `${head}\n`);
  if (target.commit === "") return;
  writeBelow(directory, "logs/HEAD", reflogLine(target.commit, request));
  if (target.head === "") return;
  writeBelow(directory, target.head, `${target.commit}\n`);
  writeBelow(directory, `logs/${target.head}`, reflogLine(target.commit, request));
}

function writeBelow(directory: string, name: string, content: string): void {
  const path = join(directory, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

function reflogLine(id: string, request: GitDirectoryRequest): string {
  const { name, email } = request.author ?? { name: "leasehold", email: "leasehold@localhost" };
  const who = `${clean(name)} <${clean(email)}> ${Math.floor(Date.now() / 1000)} +0000`;
  return `${zeroId} ${id} ${who}\tclone: from ${request.origin}\n`;
}

/** Without the characters that end a name in git's formats. */
function clean(text: string): string {
  return text.replace(/[\x00-\x1f<>]/g, "");
}

function configuration(request: GitDirectoryRequest): string {
  const { author, origin: url, target } = request;
  const lines = ['[remote "origin"]', `\turl = ${quote(url)}`, `\tfetch = +${heads}*:${origin}*`];
  if (target.head !== "" && target.tracking) {
    const branch = target.head.slice(heads.length);
    lines.push(`[branch ${quote(branch)}]`, "\tremote = origin", `\tmerge = ${quote(target.head)}`);
  }
  if (author) lines.push("[user]", `\tname = ${quote(author.name)}`, `\temail = ${quote(author.email)}`);
  return `${lines.join("\n")}\n${submoduleConfiguration(target.submodules, false)}`;
}

/** What a recursive clone writes of submodules: the clone itself makes all active, what it recurses into each one. */
export function submoduleConfiguration(submodules: readonly SubmoduleTarget[] = [], isSubmodule: boolean): string {
  if (submodules.length === 0) return "";
  const lines = isSubmodule ? [] : ["[submodule]", "\tactive = ."];
  for (const { name, url, update } of submodules) {
    lines.push(`[submodule ${quote(name)}]`);
    if (isSubmodule) lines.push("\tactive = true");
    lines.push(`\turl = ${quote(url)}`);
    if (update !== "") lines.push(`\tupdate = ${update}`);
  }
  return `${lines.join("\n")}\n`;
}

export function quote(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n")}"`;
}
