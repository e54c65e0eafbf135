/**
 * Owns what is known of a mirror's object files: how each was when it came, so that damage is noticed. Workspaces may
 * share these files by hard links, and a holder of the same user can write into them.
 *
 * Invariants:
 * 1. What was recorded of a file stays as it was first recorded: a later fetch adds files and vouches for no old one.
 * 2. The record is replaced whole. A mirror without one is not doubted; its next fetch makes one.
 *
 * Change times say nothing here: every link that is made changes them.
 */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "./replace-file.js";

const recordName = "leasehold-objects.json";

/** Size in bytes, time of modification in ms, permissions. */
type Look = readonly [size: number, modifiedMs: number, mode: number];
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
  if (isNew) replaceFile(join(mirror, recordName), `${JSON.stringify({ version: 1, files: looks })}\n`);
}

/** Names of files below `objects` that are not as they came. */
export function damagedObjects(mirror: string): string[] {
  return Object.entries(readRecord(mirror) ?? {})
    .filter(([name, look]) => lookAt(mirror, name)?.join() !== look.join())
    .map(([name]) => name);
}

function lookAt(mirror: string, name: string): Look | undefined {
  const stat = lstatSync(join(mirror, "objects", name), { throwIfNoEntry: false });
  return stat?.isFile() ? [stat.size, stat.mtimeMs, stat.mode & 0o7777] : undefined;
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

function objectNames(objects: string): string[] {
  const packs = readdirSync(join(objects, "pack")).filter((name) => /^pack-[0-9a-f]{40}\.(pack|idx)$/.test(name));
  const loose = readdirSync(objects).filter((name) => /^[0-9a-f]{2}$/.test(name));
  return [
    ...packs.map((name) => `pack/${name}`),
    ...loose.flatMap((directory) => readdirSync(join(objects, directory)).map((name) => `${directory}/${name}`)),
  ];
}
