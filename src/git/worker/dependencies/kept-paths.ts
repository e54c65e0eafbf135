/**
 * Owns moving dependencies out of a workspace when its lease has ended, and into the next one.
 *
 * Invariants:
 * 1. Only what the commit ignores and does not track is moved, and only below real directories. Where one of the paths
 *    may not be moved, none is.
 * 2. Every move is one rename, whatever is below.
 * 3. What is made in a workspace is made with the holders' rights.
 * 4. Out: the files first, the state last. In: whoever has renamed the set has it; what is left of it goes to the trash.
 */
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { changedManifests, type Dependencies, mostChangedManifests } from "../../../domain/dependencies.js";
import type {
  KeepDependenciesRequest,
  KeepOutcome,
  PlaceDependenciesRequest,
} from "../../../ports/dependency-files.js";
import { toBytePath, toText } from "../files/byte-path.js";
import { asHolder } from "../files/holder.js";
import { Inside } from "../files/inside.js";
import { findWorkspace, isDirectory, isThere } from "../files/place.js";
import { TrashBin } from "../files/trash.js";
import {
  dropSet,
  filesOf,
  type KeptSet,
  makeSet,
  markCache,
  marksFor,
  openCache,
  pruneCaches,
  pruneSets,
  readSet,
  type SetState,
  setDirectory,
  setsFor,
  takeSet,
  writeSet,
} from "./dependency-sets.js";
import { CommitFiles, manifestsIn } from "./manifests.js";

const { O_RDONLY, O_NOFOLLOW, O_DIRECTORY } = constants;
const descriptors = "/proc/self/fd";
/** A rename that says no: nothing is kept then. Anything else is this host's fault. */
const refusals = new Set(["EXDEV", "EACCES", "EPERM", "ENOENT", "EBUSY"]);

export async function keepDependencies(request: KeepDependenciesRequest): Promise<KeepOutcome> {
  const set = setDirectory(request.store, request.leaseId);
  const before = readSet(set);
  if (before?.state.fingerprint === request.fingerprint) return { kind: "kept", paths: before.state.paths };
  const bin = new TrashBin(request.trash);
  // of a database before this one, whose leases had the same names
  if (before) dropSet(set, bin);
  const commit = new CommitFiles(request.mirror, request.commit);
  let outcome: KeepOutcome = { kind: "nothing", reason: "it failed" };
  try {
    outcome = await keep(request, commit, set);
    if (outcome.kind === "kept") pruneSets(request.store, bin);
    return outcome;
  } finally {
    commit.close();
    if (outcome.kind === "nothing") dropSet(set, bin);
  }
}

async function keep(request: KeepDependenciesRequest, commit: CommitFiles, set: string): Promise<KeepOutcome> {
  const place = findWorkspace(request.candidates);
  if (place === undefined) return nothing("the workspace is missing");
  const inside = new Inside(place);
  const root = realpathSync(place);
  const found = await manifestsIn(inside, commit, request);
  if (found?.fingerprint !== request.fingerprint) return nothing("the manifests in the workspace are not the commit's");
  const { fingerprint, caller, origin, platform, environment, patterns, keepPaths } = request;
  const state = {
    ...{ fingerprint, caller, origin, platform, environment, patterns, keepPaths },
    manifests: found.manifests,
    ...{ repository: request.repository, host: request.host, workspace: request.workspaceId },
    ...{ lease: request.leaseId, commit: request.commit, keepTime: new Date().toISOString() },
  };
  if (keepPaths.length === 0) {
    markCache(request, { ...state, paths: [] });
    return { kind: "cached" };
  }
  // a killed attempt may have moved some of them
  const moved = (path: string): string => join(filesOf(set), path);
  const left = keepPaths.filter((path) => !isThere(moved(path)));
  const movable: string[] = [];
  for (const path of left) {
    const stat = inside.stat(toBytePath(path));
    if (!stat) continue;
    const kind = stat.isDirectory() ? "directory" : stat.isFile() ? "file" : undefined;
    const problem = kind ? refusal(commit, path, kind === "directory") : "is neither file nor directory";
    if (problem) return nothing(`${path} ${problem}`);
    if (!isBelowRealDirectories(root, path)) return nothing(`${path} is not below real directories`);
    movable.push(path);
  }
  const paths = keepPaths.filter((path) => !left.includes(path) || movable.includes(path));
  if (paths.length === 0) return nothing("none of the paths is there");
  makeSet(request.store, set);
  for (const path of movable) {
    mkdirSync(join(moved(path), ".."), { recursive: true, mode: 0o700 });
    if (!moveOut(root, path, moved(path))) return nothing(`${path} could not be moved`);
  }
  writeSet(set, { ...state, paths });
  return { kind: "kept", paths };
}

export async function placeDependencies(request: PlaceDependenciesRequest): Promise<Dependencies> {
  const { fingerprint, store } = request;
  const bin = new TrashBin(request.trash);
  const cachePath = openCache(request);
  pruneCaches(store, [...request.cachesInUse, cachePath], bin);
  const answer = (state: Dependencies["state"], before?: SetState): Dependencies => {
    const changed = before ? changedManifests(before.manifests, request.manifests) : [];
    const told = changed.slice(0, mostChangedManifests).map((path) => toText(path) ?? path);
    return { fingerprint, state, changedManifests: told, cachePath };
  };
  if (request.keepPaths.length === 0) {
    const { own, others } = marksFor(request);
    if (own) return answer("READY");
    return others[0] ? answer("CHANGED", others[0]) : answer("MISSING");
  }
  const sets = setsFor(request);
  const fitting = sets.filter(({ state }) => state.fingerprint === fingerprint);
  for (const set of fitting) if (place(request, set, bin)) return answer("READY");
  const other = sets.find(({ state }) => state.fingerprint !== fingerprint);
  if (fitting.length > 0 || !other) return answer("MISSING");
  dropSet(other.directory, bin);
  return answer("CHANGED", other.state);
}

/** Moves a set into the workspace. False if it is another's by now, or does not fit here; then nothing was moved. */
function place(request: PlaceDependenciesRequest, set: KeptSet, bin: TrashBin): boolean {
  const root = realpathSync(request.path);
  if (!fits(request, set, root)) return false;
  const taken = takeSet(set, request.store, request.leaseId);
  if (taken === undefined) return false;
  try {
    for (const path of set.state.paths) moveIn(join(filesOf(taken), path), root, path);
    return true;
  } finally {
    bin.take(taken);
  }
}

function fits(request: PlaceDependenciesRequest, { directory, state }: KeptSet, root: string): boolean {
  const commit = new CommitFiles(request.mirror, request.commit);
  try {
    if (lstatSync(directory, { throwIfNoEntry: false })?.dev !== lstatSync(request.path).dev) return false;
    return state.paths.every((path) => {
      const isDirectoryThere = isDirectory(join(filesOf(directory), path));
      if (refusal(commit, path, isDirectoryThere) !== undefined) return false;
      return isFree(root, path);
    });
  } finally {
    commit.close();
  }
}

/** Why a path may not be kept; undefined if it may. */
function refusal(commit: CommitFiles, path: string, isDirectoryThere: boolean): string | undefined {
  const bytes = toBytePath(path);
  for (let slash = bytes.length; slash > 0; slash = bytes.lastIndexOf("/", slash - 1)) {
    if (commit.files.entry(bytes.slice(0, slash))) return "is tracked";
  }
  for (const tracked of commit.files.paths()) if (tracked.startsWith(`${bytes}/`)) return "has tracked files";
  return commit.rules.ignores(bytes, isDirectoryThere) ? undefined : "is not ignored by the commit";
}

/** Nothing is at the path, and what is above it are real directories, or nothing. */
function isFree(root: string, path: string): boolean {
  let above = root;
  for (const name of path.split("/").slice(0, -1)) {
    above += `/${name}`;
    if (!isThere(above)) return true;
    if (!isDirectory(above)) return false;
  }
  return !isThere(join(root, path));
}

function moveIn(from: string, root: string, path: string): void {
  // with the holders' rights: one of their processes may put a symlink there at any moment
  asHolder(() => {
    let above = root;
    for (const name of path.split("/").slice(0, -1)) {
      above += `/${name}`;
      // one by one: a workspace that is gone is not made anew; what is no directory is refused
      if (!isDirectory(above)) mkdirSync(above);
    }
  });
  const isMoved = inDirectoryOf(root, path, (place) => renameSync(from, place));
  if (!isMoved) throw new Error(`${path} is not below real directories`);
}

/** False if it could not be done. */
function moveOut(root: string, path: string, to: string): boolean {
  try {
    return inDirectoryOf(root, path, (place) => renameSync(place, to));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== undefined && refusals.has(code)) return false;
    throw error;
  }
}

function isBelowRealDirectories(root: string, path: string): boolean {
  return inDirectoryOf(root, path, () => {});
}

/** `work` gets the path by the directory that was opened and looked at. False if a symlink leads there, or nothing does. */
function inDirectoryOf(root: string, path: string, work: (place: string) => void): boolean {
  const above = openAbove(root, path);
  if (above === undefined) return false;
  try {
    const directory = existsSync(descriptors) ? `${descriptors}/${above}` : dirname(join(root, path));
    work(join(directory, basename(path)));
    return true;
  } finally {
    closeSync(above);
  }
}

/** Opens the directory that a path is in; undefined if a symlink leads there, or there is none. */
function openAbove(root: string, path: string): number | undefined {
  const directory = dirname(join(root, path));
  let file: number;
  try {
    file = openSync(directory, O_RDONLY | O_NOFOLLOW | O_DIRECTORY);
  } catch {
    return undefined;
  }
  const opened = existsSync(descriptors) ? readlinkSync(`${descriptors}/${file}`) : realpathSync(directory);
  if (opened === directory) return file;
  closeSync(file);
  return undefined;
}

const nothing = (reason: string): KeepOutcome => ({ kind: "nothing", reason });
