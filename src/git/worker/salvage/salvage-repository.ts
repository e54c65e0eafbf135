/**
 * Owns the bare repository of salvages: making it, putting packs and refs into it, taking refs away.
 *
 * Invariants:
 * 1. It is complete in itself: the mirror's objects are linked or copied, never borrowed.
 * 2. A ref appears after everything that it reaches is there and synced.
 * 3. What a killed call left beside it bears that worker's process id and is removed by a later call.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { isDirectory, isThere } from "../files/place.js";
import { isAlive } from "../files/process-table.js";
import { replaceFile, syncDirectory } from "../files/replace-file.js";
import { removeTree } from "../files/trash.js";
import { formatPacked, isRefName, parsePacked, readRefs } from "../mirror/refs.js";
import { enableFsync, git } from "../nodegit.js";
import { transferObjects } from "../objects/object-transfer.js";
import type { WrittenPack } from "../objects/pack-writer.js";

const namespace = "refs/leasehold/salvage/";

export function salvageRef(salvageId: string): string {
  const ref = namespace + salvageId;
  if (!isRefName(ref)) throw new Error("a salvage id that is no name of a ref");
  return ref;
}

/** A new directory beside the repository, for what is being made. The caller removes it. */
export function stagingOf(salvages: string): string {
  sweep(salvages);
  return `${salvages}.tmp-${process.pid}-${randomBytes(4).toString("hex")}`;
}

/** Invariant 3. */
function sweep(salvages: string): void {
  const parent = dirname(salvages);
  const prefix = `${basename(salvages)}.tmp-`;
  if (!isDirectory(parent)) return;
  for (const name of readdirSync(parent)) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number.parseInt(name.slice(prefix.length), 10);
    if (pid === process.pid || !isAlive(pid)) removeTree(join(parent, name));
  }
}

/** Makes the repository if it is missing, and brings the mirrors' objects into it. */
export async function prepareRepository(salvages: string, mirrors: readonly string[], staging: string): Promise<void> {
  if (!isThere(salvages)) {
    enableFsync();
    const made = join(staging, "repository");
    const repository = await git.Repository.init(made, 1);
    repository.cleanup();
    bringObjects(mirrors, made);
    mkdirSync(dirname(salvages), { recursive: true });
    try {
      renameSync(made, salvages);
      syncDirectory(dirname(salvages));
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Another salvage of the repository has made it in the meantime.
      if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
    }
  }
  bringObjects(mirrors, salvages);
}

/** Invariants 1 and 2. */
export function bringObjects(mirrors: readonly string[], repository: string): void {
  for (const mirror of mirrors) {
    transferObjects({ from: join(mirror, "objects"), to: join(repository, "objects"), lasting: true });
  }
}

/** Puts a pack in its place: the index last, since a pack is there for git when its index is. */
export function placePack(written: WrittenPack, objects: string): void {
  const directory = join(objects, "pack");
  mkdirSync(directory, { recursive: true });
  renameSync(written.pack, join(directory, `${written.name}.pack`));
  renameSync(written.index, join(directory, `${written.name}.idx`));
  syncDirectory(directory);
}

/** Invariant 2. Replaces what an earlier attempt wrote. */
export function writeRef(repository: string, ref: string, commit: string, staging: string): void {
  const path = join(repository, ref);
  mkdirSync(dirname(path), { recursive: true });
  mkdirSync(staging, { recursive: true });
  const made = join(staging, "ref");
  replaceFile(made, `${commit}\n`);
  renameSync(made, path);
  syncDirectory(dirname(path));
}

/** The commit of a salvage; undefined if there is none. */
export function readSalvage(salvages: string, ref: string): string | undefined {
  if (!ref.startsWith(namespace) || !isRefName(ref) || !isDirectory(salvages)) return undefined;
  return readRefs(salvages).refs.get(ref)?.id;
}

export async function discardSalvage(job: { readonly salvages: string; readonly ref: string }): Promise<void> {
  const { salvages, ref } = job;
  const staging = stagingOf(salvages);
  if (!isDirectory(salvages)) return;
  if (readSalvage(salvages, ref) !== undefined) {
    const packed = join(salvages, "packed-refs");
    if (isThere(packed)) {
      const refs = parsePacked(readFileSync(packed, "utf8"));
      if (refs.delete(ref)) replaceFile(packed, formatPacked(refs));
    }
    rmSync(join(salvages, ref), { force: true });
    if (isDirectory(dirname(join(salvages, ref)))) syncDirectory(dirname(join(salvages, ref)));
  }
  const isEmpty = [...readRefs(salvages).refs.keys()].every((name) => !name.startsWith(namespace));
  if (!isEmpty) return;
  renameSync(salvages, staging);
  removeTree(staging);
}
