/** Owns what is at a path, without following symlinks. */
import { lstatSync } from "node:fs";

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
