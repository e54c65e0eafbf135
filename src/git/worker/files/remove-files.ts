/** Owns unlinking files of a workspace by name. */
import { lstatSync, rmdirSync, unlinkSync } from "node:fs";
import { toBytePath, toFsPath } from "./byte-path.js";

/** Unlinks files that may be missing, and the directories that become empty. */
export function removeFiles(path: string, names: Iterable<string>): void {
  const root = toBytePath(path);
  const parents = new Set<string>();
  for (const name of names) {
    try {
      unlinkSync(toFsPath(`${root}/${name}`));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // An empty directory; EPERM is how POSIX tells it, and how Linux tells that a file is immutable.
      const isDirectory = (): boolean => lstatSync(toFsPath(`${root}/${name}`)).isDirectory();
      if (code === "EISDIR" || (code === "EPERM" && isDirectory())) rmdirSync(toFsPath(`${root}/${name}`));
      else if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    }
    parents.add(name.slice(0, Math.max(name.lastIndexOf("/"), 0)));
  }
  for (const parent of parents) removeEmptyUpwards(root, parent);
}

function removeEmptyUpwards(root: string, directory: string): void {
  for (let at = directory; at !== ""; at = at.slice(0, Math.max(at.lastIndexOf("/"), 0))) {
    try {
      rmdirSync(toFsPath(`${root}/${at}`));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") continue;
      if (code === "ENOTEMPTY" || code === "EEXIST") return;
      throw error;
    }
  }
}
