/**
 * Owns: what plain git and the file system say of a clone with submodules, to be compared with a fresh
 * `git clone --recurse-submodules`. Shares nothing with the product.
 */
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { git } from "./upstream.js";

const allowLocal = ["-c", "protocol.file.allow=always"];

/** Clones as a user does, at a commit of the default branch or another. Answers the path. */
export async function cloneRecursively(directory: string, url: string, name: string, branch = ""): Promise<string> {
  const path = join(directory, name);
  const at = branch === "" ? [] : ["--branch", branch];
  await git(directory, ...allowLocal, "clone", "--quiet", "--recurse-submodules", ...at, url, path);
  return path;
}

/** git with submodules from local paths, which git itself is wary of. */
export function gitLocal(directory: string, ...args: string[]): Promise<string> {
  return git(directory, ...allowLocal, ...args);
}

/** Everything that must not differ between two clones. */
export async function describeClone(path: string) {
  const gits = await Promise.all(gitDirectories(path).map((directory) => describeGit(path, directory)));
  return {
    files: listing(path),
    submodules: await git(path, "submodule", "status", "--recursive"),
    status: await git(path, "status", "--porcelain", "--ignored", "--branch"),
    gits,
  };
}

async function describeGit(root: string, directory: string) {
  const worktree =
    /worktree = (.*)/.exec(readFileSync(join(directory, "config"), "utf8"))?.[1]?.replace(/"/g, "") ?? "..";
  const inWork = (...args: string[]) => git(join(directory, worktree), ...args);
  const inGit = (...args: string[]) => git(directory, "--git-dir=.", ...args);
  return {
    at: relative(root, directory),
    status: await inWork("status", "--porcelain", "--ignored", "--branch"),
    config: (await inGit("config", "--local", "--list")).split("\n").sort(),
    refs: await inGit("for-each-ref", "--format=%(refname) %(objectname) %(symref) %(upstream)"),
    head: readFileSync(join(directory, "HEAD"), "utf8"),
    index: await inGit("ls-files", "-s", "-v"),
    reflog: (await inGit("reflog", "--format=%H %gs")).replace(/clone: from .*/g, "clone"),
    hooks: readdirSync(join(directory, "hooks")).filter((name) => !name.endsWith(".sample")),
    alternates: readdirSync(join(directory, "objects", "info")).filter((name) => name === "alternates"),
  };
}

/** `.git` and every git directory below `.git/modules`. */
function gitDirectories(root: string): string[] {
  const found = [join(root, ".git")];
  const walk = (directory: string): void => {
    for (const { name } of readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory())) {
      const path = join(directory, name);
      const isGit = readdirSync(path).includes("HEAD");
      if (isGit) found.push(path);
      if (!isGit) walk(path);
      else if (readdirSync(path).includes("modules")) walk(join(path, "modules"));
    }
  };
  if (readdirSync(found[0] as string).includes("modules")) walk(join(root, ".git", "modules"));
  return found.sort();
}

/** Every path but the top `.git`: kind, permissions, content. */
function listing(root: string, below = ""): string[] {
  return readdirSync(join(root, below))
    .sort()
    .flatMap((name) => {
      const path = below === "" ? name : `${below}/${name}`;
      if (path === ".git") return [];
      const stat = lstatSync(join(root, path));
      const mode = (stat.mode & 0o7777).toString(8);
      if (stat.isDirectory()) return [`${path}/ ${mode}`, ...listing(root, path)];
      if (stat.isSymbolicLink()) return [`${path} -> ${readlinkSync(join(root, path))}`];
      const digest = createHash("sha256")
        .update(readFileSync(join(root, path)))
        .digest("hex");
      return [`${path} ${mode} ${digest}`];
    });
}
