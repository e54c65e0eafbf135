/**
 * Owns the proof that a `.git` holds what ours hold and nothing else: an allow-list of names, and what each may say.
 *
 * Invariant: no file is opened that is not a regular file of a known name.
 */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { VerifyWorkspaceRequest } from "../../ports/git-engine.js";
import type { Findings } from "./findings.js";
import { submoduleSettings } from "./verify-submodules.js";

const origin = "refs/remotes/origin/";
const directories = /^(hooks|info|logs|logs\/refs|objects|refs|objects\/(info|pack|[0-9a-f]{2})|(logs\/)?refs\/.+)$/;
const objects = /^objects\/([0-9a-f]{2}\/[0-9a-f]{38}|pack\/pack-[0-9a-f]{40}\.(pack|idx))$/;
/** Whole lines of a config of ours, but for the origin's URL. */
const settings =
  /^(\[(core|user|remote "origin"|branch ".+")\]|\t(bare = false|repositoryformatversion = 0|filemode = true|logallrefupdates = true|fetch = \+refs\/heads\/\*:refs\/remotes\/origin\/\*|remote = origin|merge = .+|name = .+|email = .+|url = .+)|)$/;

export function verifyGitDirectory(
  git: string,
  request: VerifyWorkspaceRequest,
  index: Buffer | undefined,
  findings: Findings,
): void {
  const { target, branch } = request;
  const head = branch ? `refs/heads/${branch}` : target.head;
  const add = (name: string, fault: string) => findings.add(`.git/${name}: ${fault}`);
  /** What a file may say; a name that is not here must not be there. */
  const judge = (name: string): ((bytes: Buffer) => boolean) | undefined => {
    switch (name) {
      case "HEAD":
        return (bytes) => bytes.toString() === (head === "" ? `${target.commit}\n` : `ref: ${head}\n`);
      case "index":
        return (bytes) => index?.equals(bytes) ?? false;
      case "config":
        return (bytes) => isOurs(bytes.toString(), request.origin, submoduleSettings(target.submodules, false));
      case "packed-refs":
        return (bytes) => isPacked(bytes.toString());
      case "info/exclude":
      case "description":
      case "hooks/README.sample":
        return (bytes) =>
          bytes
            .toString()
            .split("\n")
            .every((line) => name !== "info/exclude" || /^(#|$)/.test(line));
      case `${origin}HEAD`:
        return (bytes) => bytes.toString().startsWith(`ref: ${origin}`);
      case `logs/${origin}HEAD`:
      case "logs/HEAD":
      case `logs/${head}`:
        return (bytes) => bytes.toString().split("\n").length === 2;
      case head:
        return (bytes) => bytes.toString() === `${target.commit}\n`;
      default:
        return undefined;
    }
  };
  if (!lstatSync(git, { throwIfNoEntry: false })?.isDirectory()) return findings.add(".git: is no directory");
  const pending = [""];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    for (const entry of readdirSync(join(git, at), { withFileTypes: true })) {
      const name = at === "" ? entry.name : `${at}/${entry.name}`;
      if (entry.isDirectory()) {
        // below are git directories of submodules, which verify-submodules.ts judges, and contents, which verify-lfs.ts does
        if (name === "modules" || name === "lfs") continue;
        if (directories.test(name)) pending.push(name);
        else add(name, "is not of a clone");
      } else if (!entry.isFile()) add(name, "is no file");
      else if (!objects.test(name)) {
        const isRight = judge(name);
        if (!isRight) add(name, "is not of a clone");
        else if (!isRight(readFileSync(join(git, name)))) add(name, "content");
      }
    }
  }
}

/** `end`: what it says of submodules. */
function isOurs(text: string, url: string, end: string): boolean {
  if (!text.endsWith(end)) return false;
  const config = text.slice(0, text.length - end.length);
  const quoted = `\turl = "${url.replace(/[\\"]/g, "\\$&")}"`;
  const lines = config.split("\n");
  return (
    lines.every((line) => settings.test(line)) && lines.filter((line) => line.startsWith("\turl")).join() === quoted
  );
}

/** Branches of the origin and tags, and nothing else. */
function isPacked(text: string): boolean {
  return text.split("\n").every((line) => {
    if (line === "" || line.startsWith("# ") || /^\^[0-9a-f]{40}$/.test(line)) return true;
    return /^[0-9a-f]{40} refs\/(?:remotes\/origin|tags)\/.+$/.test(line);
  });
}
