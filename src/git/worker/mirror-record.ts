/**
 * Owns what is known of a mirror's object files: how each was when it came, so that damage is noticed. Workspaces may
 * share these files by hard links, and a holder of the same user can write into them.
 *
 * Invariants:
 * 1. What was recorded of a file stays as it was first recorded: a later fetch adds files and vouches for no old one.
 * 2. A file whose time alone differs is read as a whole before it is believed: git itself touches packs when it finds
 *    in them what it was about to write ("freshening"), so that a time proves nothing either way.
 * 3. The record is replaced whole. A mirror without one is not doubted; its next fetch makes one.
 *
 * Change times say nothing here: every link that is made changes them.
 */
import { lstatSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { recordName } from "../mirror-marker.js";
import { checksumOf, isSound } from "./object-checksum.js";

/** Size in bytes, time of modification in ms, permissions, the checksum that a pack ends with. */
type Look = readonly [size: number, modifiedMs: number, mode: number, checksum: string];
type Looks = Readonly<Record<string, Look>>;

/** Records the files that are new. */
export function recordObjects(mirror: string): void {
  const before = readRecord(mirror);
  const looks: Record<string, Look> = { ...before };
  let isNew = before === undefined;
  for (const name of objectNames(join(mirror, "objects"))) {
    if (Object.hasOwn(looks, name)) continue;
    const look = lookAt(mirror, name);
    if (!look) continue;
    looks[name] = look;
    isNew = true;
  }
  if (isNew) writeRecord(mirror, looks);
}

/** Names of files below `objects` that are not as they came. `deep`: all are read, whatever their times. */
export function damagedObjects(mirror: string, deep = false): string[] {
  const record = readRecord(mirror);
  if (!record) return [];
  const damaged: string[] = [];
  const touched: Record<string, Look> = {};
  for (const [name, was] of Object.entries(record)) {
    const now = lookAt(mirror, name);
    const isSame = now?.join() === was.join();
    if (isSame && !deep) continue;
    const [size, , mode, checksum] = now ?? [];
    const isAsItCame = size === was[0] && mode === was[2] && checksum === was[3];
    if (!now || !isAsItCame || !isSound(join(mirror, "objects"), name)) damaged.push(name);
    else if (!isSame) touched[name] = now;
  }
  if (Object.keys(touched).length > 0) writeRecord(mirror, { ...record, ...touched });
  return damaged;
}

function lookAt(mirror: string, name: string): Look | undefined {
  const path = join(mirror, "objects", name);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) return undefined;
  const checksum = name.startsWith("pack/") ? checksumOf(path) : "";
  return [stat.size, stat.mtimeMs, stat.mode & 0o7777, checksum];
}

function readRecord(mirror: string): Looks | undefined {
  try {
    const { version, files } = JSON.parse(readFileSync(join(mirror, recordName), "utf8")) as {
      version?: number;
      files?: Looks;
    };
    return version === 1 ? files : undefined;
  } catch {
    return undefined;
  }
}

/** By a name of this process: several may find the same at once. */
function writeRecord(mirror: string, files: Looks): void {
  const path = join(mirror, recordName);
  writeFileSync(`${path}.${process.pid}`, `${JSON.stringify({ version: 1, files })}\n`);
  renameSync(`${path}.${process.pid}`, path);
}

function objectNames(objects: string): string[] {
  const packs = readdirSync(join(objects, "pack")).filter((name) => /^pack-[0-9a-f]{40}\.(pack|idx)$/.test(name));
  const loose = readdirSync(objects).filter((name) => /^[0-9a-f]{2}$/.test(name));
  const isObject = (name: string): boolean => /^[0-9a-f]{38}$/.test(name);
  return [
    ...packs.map((name) => `pack/${name}`),
    ...loose.flatMap((directory) =>
      readdirSync(join(objects, directory))
        .filter(isObject)
        .map((name) => `${directory}/${name}`),
    ),
  ];
}
