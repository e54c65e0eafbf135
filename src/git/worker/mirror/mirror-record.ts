/**
 * Owns what is known of a mirror's object files: how each was when it came, so that damage is noticed. Workspaces may
 * share these files by hard links, and a holder of the same user can write into them.
 *
 * Invariants:
 * 1. What was recorded of a file stays as it was first recorded: a later fetch adds files and vouches for no old one.
 * 2. A file whose time alone differs is read as a whole before it is believed: git itself touches packs when it finds
 *    in them what it was about to write ("freshening"), so that a time proves nothing either way.
 * 3. The record is replaced whole, and only by who has the mirror's turn (a fetch, a swap of packs). A mirror without one
 *    is not doubted; its next fetch makes one.
 * 4. Packs that were merged into another one are remembered: workspaces that were made before have them still.
 * 5. Who only looks writes nothing into the record: that a file's time alone differs is noted apart, in a file that may be
 *    lost at any moment and vouches for nothing but having been read.
 *
 * Change times say nothing here: every link that is made changes them.
 */
import { lstatSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { recordName } from "../../mirror-marker.js";
import { isHostFault } from "../files/fault.js";
import { checksumOf, isSound } from "../objects/object-checksum.js";

/** Size in bytes, time of modification in ms, permissions, the checksum that a pack ends with. */
type Look = readonly [size: number, modifiedMs: number, mode: number, checksum: string];
type Looks = Readonly<Record<string, Look>>;

/** Beside the record: files whose time alone differs, as they were when they were read. */
const touchedName = "leasehold-touched.json";
/** How many packs that are no longer there are remembered. */
const mostFormer = 500;

interface MirrorRecord {
  readonly files: Looks;
  /** Merged into others; oldest first. */
  readonly former: Looks;
}

/** Records the files that are new. */
export function recordObjects(mirror: string): void {
  const record = readRecord(mirror);
  const before = record?.files;
  const looks: Record<string, Look> = { ...before };
  let isNew = before === undefined;
  for (const name of objectNames(join(mirror, "objects"))) {
    if (Object.hasOwn(looks, name)) continue;
    const look = lookAt(mirror, name);
    if (!look) continue;
    looks[name] = look;
    isNew = true;
  }
  if (isNew) writeRecord(mirror, { files: looks, former: record?.former ?? {} });
}

/** How a file came, as it was first recorded. */
export function recordedLook(mirror: string, name: string): Look | undefined {
  return readRecord(mirror)?.files[name];
}

/** Names of the packs that are recorded, also of those that were merged into others. */
export function everyPack(mirror: string): ReadonlySet<string> {
  const { files = {}, former = {} } = readRecord(mirror) ?? {};
  return new Set([...Object.keys(files), ...Object.keys(former)]);
}

/** From now on `added` stand for `replaced`, which are about to go. */
export function recordMerge(mirror: string, added: readonly string[], replaced: readonly string[]): void {
  const record = readRecord(mirror);
  const files = { ...record?.files };
  const former = { ...record?.former };
  for (const name of replaced) {
    const look = files[name];
    if (look) former[name] = look;
    delete files[name];
  }
  for (const name of added) {
    const look = lookAt(mirror, name);
    if (look) files[name] = look;
  }
  writeRecord(mirror, { files, former: Object.fromEntries(Object.entries(former).slice(-mostFormer)) });
}

/** Whether a file of that size, permissions and checksum was one of the mirror's once. `path`: where it is now. */
export function wasObject(mirror: string, name: string, path: string): boolean {
  const was = readRecord(mirror)?.former[name];
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!was || !stat?.isFile()) return false;
  return stat.size === was[0] && (stat.mode & 0o7777) === was[2] && checksumOf(path) === was[3];
}

/** Names of files below `objects` that are not as they came. */
export function damagedObjects(mirror: string): string[] {
  const record = readRecord(mirror)?.files;
  if (!record) return [];
  const damaged: string[] = [];
  const known = readTouched(mirror);
  const touched: Record<string, Look> = {};
  for (const [name, was] of Object.entries(record)) {
    const now = lookAt(mirror, name);
    if (now?.join() === was.join()) continue;
    const [size, , mode, checksum] = now ?? [];
    const isAsItCame = size === was[0] && mode === was[2] && checksum === was[3];
    const wasRead = now?.join() === known[name]?.join();
    if (now && isAsItCame && (wasRead || isSound(join(mirror, "objects"), name))) touched[name] = now;
    else damaged.push(name);
  }
  const isNews = Object.entries(touched).some(([name, look]) => known[name]?.join() !== look.join());
  if (isNews) replace(join(mirror, touchedName), { version: 1, files: touched });
  return damaged;
}

function lookAt(mirror: string, name: string): Look | undefined {
  const path = join(mirror, "objects", name);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) return undefined;
  const checksum = name.startsWith("pack/") ? checksumOf(path) : "";
  return [stat.size, stat.mtimeMs, stat.mode & 0o7777, checksum];
}

function readRecord(mirror: string): MirrorRecord | undefined {
  const { files, former } = read<MirrorRecord>(join(mirror, recordName));
  return files && { files, former: former ?? {} };
}

function readTouched(mirror: string): Looks {
  return read<Pick<MirrorRecord, "files">>(join(mirror, touchedName)).files ?? {};
}

/** Nothing where there is none, or none that we could have written. A fault of this host's is none of these. */
function read<T extends object>(path: string): Partial<T> {
  try {
    const found = JSON.parse(readFileSync(path, "utf8")) as { version?: number } & Partial<T>;
    return found.version === 1 ? found : {};
  } catch (error) {
    if (isHostFault(error)) throw error;
    return {};
  }
}

function writeRecord(mirror: string, record: MirrorRecord): void {
  replace(join(mirror, recordName), { version: 1, ...record });
}

/** By a name of this process: several may look at once. */
function replace(path: string, content: object): void {
  const made = `${path}.${process.pid}`;
  writeFileSync(made, `${JSON.stringify(content)}\n`);
  renameSync(made, path);
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
