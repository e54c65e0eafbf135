/**
 * Owns repositories within a workspace: nested ones, submodules, and linked worktrees that stand inside it.
 *
 * Invariant: a `.git` file leads only to places inside the workspace, by its words alone; what it names is read as
 * data like any other.
 */

import type { Inside } from "../files/inside.js";
import { type GitBudget, type HolderGit, readHolderGit } from "./holder-git.js";

/** Bytes of a `.git` file that make sense. */
const longestPointer = 16 * 1024;
/** How deep repositories of submodules are looked for below `.git/modules`. */
const deepestModule = 12;

export interface NestedRepository {
  /** Byte path of its files, or of its git directory where no files are of it. */
  readonly path: string;
  /** What it names; undefined if there is nothing that could be read. */
  readonly git: HolderGit | undefined;
  /** For a submodule that was placed here: the mirror of its upstream. */
  readonly mirror?: string;
  /** Byte path of its objects directory. */
  readonly objects: string;
  /** In words, why its commits cannot be saved. */
  readonly problem: string | undefined;
}

/** `paths`: byte paths of directories that hold a `.git`. */
export function findNested(inside: Inside, paths: Iterable<string>, budget: GitBudget): NestedRepository[] {
  const claimed = new Set<string>();
  const found: NestedRepository[] = [];
  for (const path of paths) {
    const pointer = inside.isDirectory(`${path}/.git`) ? `${path}/.git` : readPointer(inside, path);
    if (pointer === undefined) {
      const problem = "its .git is neither a directory nor a file that names one in the workspace";
      found.push({ path, git: undefined, objects: "", problem });
      continue;
    }
    claimed.add(pointer);
    found.push(read(inside, path, pointer, budget));
  }
  for (const directory of modules(inside, ".git/modules", deepestModule)) {
    if (!claimed.has(directory)) found.push(read(inside, directory, directory, budget));
  }
  return found;
}

function read(inside: Inside, path: string, directory: string, budget: GitBudget): NestedRepository {
  const linked = /^(.*)\/worktrees\/[^/]+$/s.exec(directory)?.[1];
  const git = readHolderGit(inside, directory, budget);
  const problem = git ? undefined : "its git directory is not there";
  return { path, git, objects: `${linked ?? directory}/objects`, problem };
}

/** Where a `.git` file leads, as a byte path in the workspace. */
function readPointer(inside: Inside, path: string): string | undefined {
  const stat = inside.stat(`${path}/.git`);
  if (!stat?.isFile() || stat.size > longestPointer) return undefined;
  const text = inside.read(`${path}/.git`, longestPointer)?.bytes.toString("latin1");
  const target = /^gitdir: ([^\n]+)\n?$/.exec(text ?? "")?.[1];
  if (target === undefined) return undefined;
  const parts: string[] = [];
  for (const part of (target.startsWith("/") ? target : `${inside.root}/${path}/${target}`).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  const place = `/${parts.join("/")}`;
  return place.startsWith(`${inside.root}/`) ? place.slice(inside.root.length + 1) : undefined;
}

/** Git directories below `directory`; those of submodules of submodules are in a `modules` of theirs. */
function* modules(inside: Inside, directory: string, depth: number): Generator<string> {
  if (depth === 0) return;
  const entries = inside.list(directory) ?? [];
  const isGit = entries.some(({ name }) => name === "HEAD") && entries.some(({ name }) => name === "objects");
  if (isGit) yield directory;
  for (const entry of entries) {
    if (!entry.isDirectory() || (isGit && entry.name !== "modules")) continue;
    yield* modules(inside, `${directory}/${entry.name}`, depth - 1);
  }
}
