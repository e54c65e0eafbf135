/**
 * Owns that a pack takes the place of those that it was made of.
 *
 * Invariants:
 * 1. Whoever calls sees to it that nobody links or reads objects of the mirror meanwhile.
 * 2. First the new pack is in its place, then in the record, and the old ones go last: killed in between, there is more than is
 *    needed and never less.
 * 3. A pack that leaves something out is used only where nothing has come since: what came may build on what was left out.
 */
import { createHash } from "node:crypto";
import { readdirSync, renameSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import type { MadePack } from "../../protocol.js";
import { syncDirectory } from "../files/replace-file.js";
import { removeTree } from "../files/trash.js";
import { packDirectory, placeOf } from "./mirror-packs.js";
import { damagedObjects, recordMerge } from "./mirror-record.js";
import { formatPacked, type RefTable, readRefs } from "./refs.js";

/** False: the mirror is another one by now. */
export async function swapPacks({ mirror, made }: { mirror: string; made: MadePack }): Promise<boolean> {
  const { name, replaced } = made;
  const place = placeOf(mirror);
  const packs = packDirectory(mirror);
  const known = new Set(readdirSync(packs));
  const files = (one: string): string[] => [`${one}.pack`, `${one}.idx`];
  const old = replaced.flatMap(files);
  if (!old.every((file) => known.has(file)) || !isFor(mirror, made, known) || damagedObjects(mirror).length > 0) {
    removeTree(place);
    return false;
  }
  // a swap before this one was killed in the midst of it
  const alone = [...known].filter((file) => /^pack-[0-9a-f]{40}\.pack$/.test(file) && !known.has(indexOf(file)));
  const gone = [...replaced.filter((one) => one !== name).flatMap((one) => files(one).reverse()), ...alone];
  for (const file of files(name)) renameSync(join(place, file), join(packs, file));
  syncDirectory(packs);
  const inRecord = (names: readonly string[]): string[] => names.map((file) => `pack/${file}`);
  const left = gone.filter((file) => !files(name).includes(file));
  recordMerge(mirror, inRecord(files(name)), inRecord(left));
  for (const file of left) unlinkSync(join(packs, file));
  syncDirectory(packs);
  removeTree(place);
  return true;
}

/** Of all references that a mirror has, and its HEAD. */
export function refsDigest({ head, refs }: RefTable): string {
  return createHash("sha256")
    .update(`${head}\n${formatPacked(refs)}`)
    .digest("hex");
}

/** Invariant 3. */
function isFor(mirror: string, { refs, replaced }: MadePack, known: ReadonlySet<string>): boolean {
  if (refs === "") return true;
  const indexes = [...known].filter((file) => file.endsWith(".idx"));
  return indexes.length === replaced.length && refsDigest(readRefs(mirror)) === refs;
}

function indexOf(pack: string): string {
  return pack.replace(/pack$/, "idx");
}
