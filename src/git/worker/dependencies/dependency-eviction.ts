/**
 * Owns which of the kept dependencies goes first when the disk is low: the one that was not used for longest.
 *
 * Invariants:
 * 1. What a living lease has, or is getting, stays: caches in use, and sets that are on their way.
 * 2. Whoever renames a set has it: one that a lease takes at the same moment is the lease's.
 */
import { lstatSync } from "node:fs";
import { basename, join } from "node:path";
import type { DropDependenciesRequest } from "../../../ports/dependency-files.js";
import { isThere } from "../files/place.js";
import { TrashBin } from "../files/trash.js";
import { allSets, caches, namesIn } from "./dependency-sets.js";

interface Kept {
  readonly paths: readonly string[];
  readonly usedMs: number;
}

export async function dropDependencies({ root, trash, inUse }: DropDependenciesRequest): Promise<string> {
  const kept = namesIn(root).flatMap((name) => [...setsOf(join(root, name)), ...cachesOf(join(root, name), inUse)]);
  const bin = new TrashBin(trash);
  for (const { paths } of kept.sort((a, b) => a.usedMs - b.usedMs)) {
    const [first = ""] = paths;
    try {
      for (const path of paths) if (isThere(path)) bin.take(path);
      return basename(first);
    } catch (error) {
      // a lease was faster
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return "";
}

function setsOf(store: string): readonly Kept[] {
  return allSets(store).map(({ directory, state }) => ({
    paths: [directory],
    usedMs: Date.parse(state.keepTime) || 0,
  }));
}

function cachesOf(store: string, inUse: readonly string[]): readonly Kept[] {
  return namesIn(join(store, caches))
    .filter((name) => !name.endsWith(".json") && !name.endsWith(".new"))
    .map((name) => join(store, caches, name))
    .filter((path) => !inUse.includes(path))
    .flatMap((path) => {
      const usedMs = lstatSync(path, { throwIfNoEntry: false })?.mtimeMs;
      // its state first: a state without its cache would promise what is not there
      return usedMs === undefined ? [] : [{ paths: [`${path}.json`, path], usedMs }];
    });
}
