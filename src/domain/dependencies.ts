/**
 * Owns what the dependencies of a workspace depend on: the fingerprint.
 *
 * Invariants:
 * 1. It changes with a selected manifest (path, kind or content), the platform and the environment, and nothing else.
 * 2. The encoding that is hashed is unambiguous and has a version; equal inputs give equal fingerprints on every host.
 */
import { createHash } from "node:crypto";

/** What an Acquire asks for. */
export interface DependencyWish {
  /** Paths, globs, or `auto`. Empty: there is no fingerprint. */
  readonly manifests: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Without slashes at their ends, each once, sorted. */
  readonly keepPaths: readonly string[];
}

export interface Platform {
  readonly os: string;
  readonly arch: string;
  /** `glibc` or `musl`; empty where it is not known, or there is no choice. */
  readonly libc: string;
}

/** A file of a commit that says what is to be installed. */
export interface Manifest {
  /** Byte path: one character per byte. */
  readonly path: string;
  readonly kind: "file" | "link";
  /** Git's id of its content, or of where it points. */
  readonly blob: string;
}

export const dependencyStates = ["READY", "MISSING", "CHANGED"] as const;
export type DependencyState = (typeof dependencyStates)[number];

/** What a holder is told. */
export interface Dependencies {
  readonly fingerprint: string;
  readonly state: DependencyState;
  /** As text, sorted; of state CHANGED only. */
  readonly changedManifests: readonly string[];
  /** Absolute path on the host. */
  readonly cachePath: string;
}

/** What is stored with a lease: enough to keep its files when it ends. */
export interface LeaseDependencies extends Dependencies {
  readonly wish: DependencyWish;
}

/** How many files one request may select. */
export const mostManifests = 5_000;
/** How many manifests are named as changed at most. */
export const mostChangedManifests = 100;

const encoding = "leasehold-dependencies-1";

export function fingerprintOf(
  manifests: readonly Manifest[],
  platform: Platform,
  environment: Readonly<Record<string, string>>,
): string {
  const files = [...manifests].sort(byPath).map(({ path, kind, blob }) => [path, kind, blob]);
  const variables = Object.entries(environment).sort(([a], [b]) => (a < b ? -1 : 1));
  const { os, arch, libc } = platform;
  const text = JSON.stringify([encoding, files, [os, arch, libc], variables]);
  return createHash("sha256").update(text).digest("hex");
}

/** Byte paths of manifests that only one of the two has, or that differ, in order. */
export function changedManifests(before: readonly Manifest[], now: readonly Manifest[]): readonly string[] {
  const told = new Map(before.map((manifest) => [manifest.path, manifest]));
  const changed = new Set<string>();
  for (const { path, kind, blob } of now) {
    const old = told.get(path);
    if (old?.kind !== kind || old.blob !== blob) changed.add(path);
    told.delete(path);
  }
  return [...changed, ...told.keys()].sort();
}

/** The form in which paths are compared. */
export function normalKeepPaths(paths: readonly string[]): readonly string[] {
  return [...new Set(paths.map((path) => path.replace(/\/$/, "")))].sort();
}

function byPath(a: Manifest, b: Manifest): number {
  return a.path < b.path ? -1 : 1;
}
