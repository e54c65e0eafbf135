/**
 * Owns what is at a path, without following symlinks, and the names beside a workspace that work in progress uses.
 *
 * Beside, not in the trash: that may be emptied at any moment.
 */
import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { giveToHolder, holder } from "./holder.js";

/** Suffixes of a workspace's path. What a killed attempt leaves there goes when the workspace is next worked on. */
export const beside = {
  /** A `.git` that is being made. */
  made: ".git-new",
  /** A `.git` of ours that has been replaced. */
  replaced: ".git-old",
  /** What stood where a workspace is to be made. */
  aside: ".aside",
  /** A submodule that is being made. */
  module: ".module-new",
  /** Submodules of ours that are being replaced. */
  modules: ".modules-old",
  /** Where verification checks out what it compares with. */
  verified: ".verify",
  /** Objects of a salvage that is being restored. */
  restored: ".git-restore",
} as const;

/** Makes the directory that a workspace is in, where that is missing: the server's, and others may only pass through. */
export function makeParent(path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  if (holder) chmodSync(dirname(path), 0o711);
}

/** Makes the directory of a workspace, the holder's. */
export function makeWorkspaceDirectory(path: string): void {
  makeParent(path);
  mkdirSync(path);
  giveToHolder(path);
}

export function leftoversOf(path: string): string[] {
  return Object.values(beside)
    .map((suffix) => path + suffix)
    .filter(isThere);
}

export function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

export function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

export function isFile(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** The first candidate that is a real directory. */
export function findWorkspace(candidates: readonly string[]): string | undefined {
  return candidates.find(isDirectory);
}
