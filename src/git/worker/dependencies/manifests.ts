/**
 * Owns finding the files that say what is to be installed: in a commit's tree, and in a workspace as its holder left it.
 *
 * Invariants:
 * 1. In a commit, only the mirror's objects are read.
 * 2. A workspace is data: no symlink is followed, and what the commit's rules ignore is not a manifest.
 * 3. Of a workspace, one file is in memory at a time, and all that is read is bounded.
 */
import { randomBytes } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";
import { fingerprintOf, type Manifest, mostManifests } from "../../../domain/dependencies.js";
import { manifestSelector } from "../../../domain/manifest-selection.js";
import type {
  FingerprintRequest,
  SelectManifestsRequest,
  WorkspaceFingerprintRequest,
} from "../../../ports/dependency-files.js";
import { toBytePath } from "../files/byte-path.js";
import { Inside, TooLarge } from "../files/inside.js";
import { IndexFile } from "../index/index-file.js";
import { BaseFiles } from "../objects/base-files.js";
import { entryMode, objectId, parseCommit } from "../objects/git-object.js";
import { ObjectStore } from "../objects/object-store.js";
import { IgnoreRules } from "../salvage/ignore-rules.js";
import { type Candidate, findConverted } from "../workspace/conversion.js";

/** Entries of a workspace that are looked at. */
const mostEntries = 1_000_000;
/** Bytes of a manifest, and of all in a workspace. */
const mostBytes = 64 * 1024 * 1024;
const mostBytesInAll = 512 * 1024 * 1024;

/** A commit's files and what they ignore. Close it. */
export class CommitFiles {
  readonly files: BaseFiles;
  readonly #objects: ObjectStore;
  #rules: IgnoreRules | undefined;

  /** `commit`: empty for none. */
  constructor(mirror: string, commit: string) {
    this.#objects = ObjectStore.of(join(mirror, "objects"));
    const tree = commit === "" ? undefined : parseCommit(this.#objects.read(commit, "commit")).tree;
    this.files = new BaseFiles(IndexFile.empty(), undefined, tree, (id) => this.#objects.read(id, "tree"));
  }

  get rules(): IgnoreRules {
    this.#rules ??= IgnoreRules.of(this.files, this.readBlob);
    return this.#rules;
  }

  readonly readBlob = (id: string): Buffer => this.#objects.read(id, "blob");

  close(): void {
    this.#objects.close();
  }
}

export async function selectManifests(request: SelectManifestsRequest): Promise<readonly Manifest[]> {
  const commit = new CommitFiles(request.mirror, request.commit);
  try {
    const selects = manifestSelector(request.patterns.map(toBytePath));
    const manifests: Manifest[] = [];
    for (const path of commit.files.paths()) {
      const manifest = selects(path) ? manifestAt(commit.files, path) : undefined;
      if (manifest) manifests.push(manifest);
      if (manifests.length > mostManifests) break;
    }
    return manifests.sort((a, b) => (a.path < b.path ? -1 : 1));
  } finally {
    commit.close();
  }
}

export async function workspaceFingerprint(request: WorkspaceFingerprintRequest): Promise<string> {
  const commit = new CommitFiles(request.mirror, request.commit);
  try {
    return (await manifestsIn(new Inside(request.path), commit, request))?.fingerprint ?? "";
  } finally {
    commit.close();
  }
}

export interface Found {
  readonly manifests: readonly Manifest[];
  readonly fingerprint: string;
}

/** The manifests in a workspace, with the fingerprint that they give; undefined if they cannot all be looked at. */
export async function manifestsIn(
  inside: Inside,
  commit: CommitFiles,
  { patterns, platform, environment }: FingerprintRequest,
): Promise<Found | undefined> {
  const paths = new ManifestWalk(inside, commit, manifestSelector(patterns.map(toBytePath))).walk();
  if (!paths || paths.length > mostManifests) return undefined;
  const manifests = new Map<string, Manifest>();
  const differing: string[] = [];
  let left = mostBytesInAll;
  for (const path of paths) {
    const stat = inside.stat(path);
    const target = stat?.isSymbolicLink() ? inside.readLink(path) : undefined;
    if (target) {
      manifests.set(path, { path, kind: "link", blob: objectId("blob", target) });
      continue;
    }
    const bytes = contentOf(inside, path, Math.min(mostBytes, left));
    if (!bytes) return undefined;
    left -= bytes.length;
    const blob = objectId("blob", bytes);
    manifests.set(path, { path, kind: "file", blob });
    if (blob !== commit.files.entry(path)?.id) differing.push(path);
  }
  // what a checkout writes with other line ends is the commit's nevertheless
  const converted =
    differing.length === 0
      ? new Set<string>()
      : await findConverted(
          readAll(inside, differing),
          commit.files,
          commit.readBlob,
          join(homedir(), `manifests-${randomBytes(6).toString("hex")}`),
        );
  for (const path of converted) manifests.set(path, manifestAt(commit.files, path) as Manifest);
  const found = [...manifests.values()];
  return { manifests: found, fingerprint: fingerprintOf(found, platform, environment) };
}

/** Undefined for a submodule. */
function manifestAt(files: BaseFiles, path: string): Manifest | undefined {
  const entry = files.entry(path);
  if (!entry || entry.mode === entryMode.submodule) return undefined;
  return { path, kind: entry.mode === entryMode.link ? "link" : "file", blob: entry.id };
}

/** One at a time: all of them may be more than memory holds. */
function* readAll(inside: Inside, paths: readonly string[]): Generator<Candidate> {
  for (const path of paths) {
    const bytes = contentOf(inside, path, mostBytes);
    if (bytes) yield { path, bytes };
  }
}

/** Undefined if there is none, or it is too large. */
function contentOf(inside: Inside, path: string, mostBytes: number): Buffer | undefined {
  try {
    return inside.read(path, mostBytes)?.bytes;
  } catch (error) {
    if (error instanceof TooLarge) return undefined;
    throw error;
  }
}

/** Finds selected files that are tracked or not ignored. */
class ManifestWalk {
  readonly #inside: Inside;
  readonly #commit: CommitFiles;
  readonly #selects: (path: string) => boolean;
  readonly #tracked = new Set<string>();
  readonly #trackedDirectories = new Set<string>();
  #looked = 0;

  constructor(inside: Inside, commit: CommitFiles, selects: (path: string) => boolean) {
    this.#inside = inside;
    this.#commit = commit;
    this.#selects = selects;
    for (const path of commit.files.paths()) {
      this.#tracked.add(path);
      for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
        const above = path.slice(0, slash);
        if (this.#trackedDirectories.has(above)) break;
        this.#trackedDirectories.add(above);
      }
    }
  }

  walk(): readonly string[] | undefined {
    const found: string[] = [];
    const pending = [""];
    for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
      const entries = this.#inside.list(directory);
      if (!entries) return undefined;
      this.#looked += entries.length;
      if (this.#looked > mostEntries) return undefined;
      for (const entry of entries) {
        const path = directory === "" ? entry.name : `${directory}/${entry.name}`;
        if (entry.isDirectory()) {
          // a submodule's files, and those of a nested repository's `.git`, are another's
          if (this.#tracked.has(path) || entry.name === ".git") continue;
          if (this.#trackedDirectories.has(path) || !this.#commit.rules.ignores(path, true)) pending.push(path);
        } else if (this.#selects(path) && (this.#tracked.has(path) || !this.#commit.rules.ignores(path, false))) {
          if (!entry.isFile() && !entry.isSymbolicLink()) return undefined;
          found.push(path);
        }
      }
    }
    return found;
  }
}
