/**
 * Owns what is kept of a repository's dependencies on this host, and its layout:
 *
 *   <lease>/files/…, <lease>/state.json    a set: what that lease left
 *   taken-<lease>/                         a set on its way into that lease's workspace
 *   caches/<name>/, caches/<name>.json     directories for installers; the state of those that were marked as installed
 *
 * Invariants:
 * 1. A state is written last, whole, and says what is beside it. A directory without one is no set.
 * 2. Whoever renames a set has it.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Manifest, Platform } from "../../../domain/dependencies.js";
import type { DependencyOwner, SweepDependenciesRequest } from "../../../ports/dependency-files.js";
import type { RemoveDependenciesJob } from "../../protocol.js";
import { giveToHolder, holderUid } from "../files/holder.js";
import { isDirectory, isThere } from "../files/place.js";
import { replaceFile, syncDirectory } from "../files/replace-file.js";
import { TrashBin } from "../files/trash.js";

const format = 1;
const stateFile = "state.json";
const takenPrefix = "taken-";
export const caches = "caches";
const setName = /^w[1-9]\d*\.[1-9]\d*$/;

/** How many sets are kept: for one fingerprint, caller and list of paths, and of one repository. */
const mostAlike = 4;
const mostSets = 16;
/** How many caches of a repository are kept besides those in use. */
const mostCaches = 16;

export interface SetState {
  readonly format: typeof format;
  /** Whose the files are: of no use under another layout. */
  readonly uid: number;
  readonly fingerprint: string;
  readonly caller: string;
  readonly origin: string;
  readonly platform: Platform;
  readonly environment: Readonly<Record<string, string>>;
  readonly patterns: readonly string[];
  readonly manifests: readonly Manifest[];
  /** As asked for. */
  readonly keepPaths: readonly string[];
  /** Those of them that were there. */
  readonly paths: readonly string[];
  readonly repository: string;
  readonly host: string;
  readonly workspace: string;
  readonly lease: string;
  readonly commit: string;
  /** ISO 8601. */
  readonly keepTime: string;
}

export interface KeptSet {
  readonly directory: string;
  readonly state: SetState;
}

export function setDirectory(store: string, leaseId: string): string {
  return join(store, leaseId);
}

/** Makes a set's directory, which is the server's alone. */
export function makeSet(store: string, directory: string): void {
  makePassable(store);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
}

/** Makes a directory that caches are below: whoever has a cache goes through it, and reads nothing of it. */
function makePassable(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o711 });
}

/** Where a set's files are, below its directory. */
export function filesOf(directory: string): string {
  return join(directory, "files");
}

export function readSet(directory: string): KeptSet | undefined {
  const state = readState(join(directory, stateFile));
  return state && { directory, state };
}

export function writeSet(directory: string, state: Omit<SetState, "format" | "uid">): void {
  writeState(join(directory, stateFile), state);
  syncDirectory(directory);
}

/** Whole sets that the owner may have, with its paths, newest first. */
export function setsFor(owner: DependencyOwner): readonly KeptSet[] {
  return allSets(owner.store).filter(({ state }) => isFor(owner, state));
}

/** Makes the set the caller's own; undefined if another was faster. */
export function takeSet(set: KeptSet, store: string, leaseId: string): string | undefined {
  const taken = join(store, `${takenPrefix}${leaseId}`);
  try {
    renameSync(set.directory, taken);
    return taken;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Of those that are alike, and of all, the oldest go. */
export function pruneSets(store: string, bin: TrashBin): void {
  const alike = new Map<string, number>();
  let kept = 0;
  for (const { directory, state } of allSets(store)) {
    const key = JSON.stringify([state.fingerprint, state.caller, state.keepPaths]);
    const count = (alike.get(key) ?? 0) + 1;
    alike.set(key, count);
    if (count <= mostAlike && ++kept <= mostSets) continue;
    dropSet(directory, bin);
  }
}

/** Into the trash, unless somebody has taken it meanwhile. */
export function dropSet(directory: string, bin: TrashBin): void {
  if (isThere(directory)) bin.take(directory);
}

/** The owner's directory for its installer, made if it is missing, and counted as used now. */
export function openCache(owner: DependencyOwner): string {
  const directory = cacheDirectory(owner);
  makePassable(dirname(directory));
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  // also one that is there: a kill may have come before it was given
  giveToHolder(directory);
  const now = new Date();
  utimesSync(directory, now, now);
  return directory;
}

export function markCache(owner: DependencyOwner, state: Omit<SetState, "format" | "uid">): void {
  writeState(`${openCache(owner)}.json`, state);
}

/** The state of the owner's cache if it was marked; `others`: those of other fingerprints, newest first. */
export function marksFor(owner: DependencyOwner): {
  readonly own: SetState | undefined;
  readonly others: readonly SetState[];
} {
  const directory = join(owner.store, caches);
  const marks = namesIn(directory)
    .filter((name) => name.endsWith(".json") && isDirectory(join(directory, name.slice(0, -".json".length))))
    .flatMap((name) => readState(join(directory, name)) ?? [])
    .filter((state) => isFor(owner, state))
    .sort((a, b) => (a.keepTime < b.keepTime ? 1 : -1));
  return {
    own: marks.find(({ fingerprint }) => fingerprint === owner.fingerprint),
    others: marks.filter(({ fingerprint }) => fingerprint !== owner.fingerprint),
  };
}

export function pruneCaches(store: string, inUse: readonly string[], bin: TrashBin): void {
  const directory = join(store, caches);
  const unused = namesIn(directory)
    .filter((name) => !name.endsWith(".json") && !name.endsWith(".new"))
    .map((name) => ({ path: join(directory, name), used: statSync(join(directory, name)).mtimeMs }))
    .filter(({ path }) => !inUse.includes(path))
    .sort((a, b) => b.used - a.used);
  for (const { path } of unused.slice(mostCaches)) {
    if (isThere(`${path}.json`)) bin.take(`${path}.json`);
    bin.take(path);
  }
}

export async function sweepDependencies({ root, trash, pending }: SweepDependenciesRequest): Promise<number> {
  const bin = new TrashBin(trash);
  let swept = 0;
  for (const repository of namesIn(root)) {
    const store = join(root, repository);
    for (const name of namesIn(store)) {
      const lease = name.startsWith(takenPrefix) ? name.slice(takenPrefix.length) : name;
      if (!setName.test(lease) || pending.includes(lease)) continue;
      if (name === lease && readSet(join(store, name))) continue;
      bin.take(join(store, name));
      swept += 1;
    }
  }
  return swept;
}

export async function removeDependencies({ store, trash }: RemoveDependenciesJob): Promise<void> {
  if (isThere(store)) new TrashBin(trash).take(store);
}

/** Newest first. */
export function allSets(store: string): readonly KeptSet[] {
  return namesIn(store)
    .filter((name) => setName.test(name))
    .flatMap((name) => readSet(join(store, name)) ?? [])
    .sort((a, b) => (a.state.keepTime < b.state.keepTime ? 1 : -1));
}

function isFor(owner: DependencyOwner, state: SetState): boolean {
  return (
    state.uid === holderUid() &&
    state.origin === owner.origin &&
    (owner.shared || state.caller === owner.caller) &&
    isDeepStrictEqual(state.keepPaths, owner.keepPaths)
  );
}

function cacheDirectory({ store, fingerprint, caller, shared }: DependencyOwner): string {
  const who = shared ? "shared" : createHash("sha256").update(caller).digest("hex").slice(0, 16);
  return join(store, caches, `${fingerprint}-${who}`);
}

function writeState(path: string, state: Omit<SetState, "format" | "uid">): void {
  replaceFile(path, `${JSON.stringify({ format, uid: holderUid(), ...state }, null, 2)}\n`);
}

/** Undefined if there is none that this version can read. */
function readState(path: string): SetState | undefined {
  try {
    const state = JSON.parse(readFileSync(path, "utf8")) as Partial<SetState> | null;
    const isWhole = state?.format === format && Array.isArray(state.paths) && Array.isArray(state.manifests);
    return isWhole ? (state as SetState) : undefined;
  } catch {
    return undefined;
  }
}

export function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}
