/**
 * Owns what is at a path, without following symlinks, and what work in progress has beside a workspace.
 *
 * Beside, not in the trash: that may be emptied at any moment.
 */
import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { beside } from "../../../domain/workspace-directory.js";
import { giveToHolder, holder } from "./holder.js";

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
