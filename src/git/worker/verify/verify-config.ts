/**
 * Owns what the `.git/config` of a fresh clone says, line by line.
 *
 * Invariant: nothing depends on what a holder could have left but on the file system and the request.
 */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import type { SubmoduleTarget, VerifyWorkspaceRequest } from "../../../ports/git-engine.js";

/** `follows`: the local branch that follows the one of its name at the origin. */
export function expectedConfig(request: VerifyWorkspaceRequest, follows: string | undefined): string {
  const { author, origin, path, target } = request;
  const lines = [
    "[core]",
    "\tbare = false",
    "\trepositoryformatversion = 0",
    `\tfilemode = ${process.platform !== "win32"}`,
    ...(ignoresCase(path) ? ["\tignorecase = true"] : []),
    ...(process.platform === "darwin" ? ["\tprecomposeunicode = true"] : []),
    "\tlogallrefupdates = true",
    '[remote "origin"]',
    `\turl = ${inQuotes(origin)}`,
    "\tfetch = +refs/heads/*:refs/remotes/origin/*",
  ];
  if (follows !== undefined) {
    const name = inQuotes(follows.replace("refs/heads/", ""));
    lines.push(`[branch ${name}]`, "\tremote = origin", `\tmerge = ${inQuotes(follows)}`);
  }
  if (author) lines.push("[user]", `\tname = ${inQuotes(author.name)}`, `\temail = ${inQuotes(author.email)}`);
  return lines.map((line) => `${line}\n`).join("") + submoduleSettings(target.submodules, false);
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

/** As git finds out: by another spelling of a name that is there. */
function ignoresCase(path: string): boolean {
  const right = lstatSync(join(path, ".git", "HEAD"), { throwIfNoEntry: false });
  const other = lstatSync(join(path, ".git", "hEaD"), { throwIfNoEntry: false });
  return right !== undefined && right.ino === other?.ino;
}

export function inQuotes(value: string): string {
  let quoted = "";
  for (const character of value) {
    if (character === "\\" || character === '"') quoted += `\\${character}`;
    else quoted += character === "\n" ? "\\n" : character;
  }
  return `"${quoted}"`;
}
