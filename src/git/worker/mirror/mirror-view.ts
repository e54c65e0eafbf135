/**
 * Owns views of a mirror: a repository that reads the mirror's objects and has references of its own.
 *
 * Invariants:
 * 1. Nothing that is done to a view changes the mirror, until `takePacks`.
 * 2. A pack is there for git when its index is: it comes after its pack.
 */
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { syncDirectory } from "../files/replace-file.js";
import { removeTree } from "../files/trash.js";
import { git } from "../nodegit.js";
import { packDirectory, packsOf } from "./mirror-packs.js";
import { formatPacked, type Ref } from "./refs.js";

/** Makes it at `view`, instead of what is there. */
export async function makeView(view: string, mirror: string, refs: ReadonlyMap<string, Ref>): Promise<void> {
  removeTree(view);
  (await git.Repository.init(view, 1)).cleanup();
  writeFileSync(join(view, "objects", "info", "alternates"), `${join(mirror, "objects")}\n`);
  writeFileSync(join(view, "packed-refs"), formatPacked(refs));
}

/** Moves the packs that have come into `view` to the directory `to`, and answers their names. */
export function takePacks(view: string, to: string): readonly string[] {
  const names = packsOf(view).map(({ name }) => name);
  for (const ending of [".pack", ".idx"]) {
    for (const name of names) renameSync(join(packDirectory(view), name + ending), join(to, name + ending));
  }
  if (names.length > 0) syncDirectory(to);
  return names;
}
