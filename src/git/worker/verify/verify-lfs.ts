/**
 * Owns the proof that the contents of Git LFS in a git directory are those of its commit, and nothing else.
 *
 * Invariant: what is to be there comes from the mirror's commit. By size and mode; by digest where `deep`.
 */
import { constants, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { holderUid } from "../files/holder.js";
import { lfsFilesOf } from "../modules/lfs-checkout.js";
import type { LfsFile } from "../modules/lfs-files.js";
import { fileDigest, lfsPath, storeName } from "../modules/lfs-store.js";
import type { Findings } from "./findings.js";

export interface LfsExpectation {
  readonly mirror: string;
  readonly commit: string;
  readonly lfs?: boolean;
}

/** By byte path: the SHA-256 of what is to be there. Looks at `lfs` of the git directory, where there is one, on the way. */
export function verifyLfs(
  git: string | undefined,
  { mirror, commit, lfs }: LfsExpectation,
  deep: boolean,
  findings: Pick<Findings, "add">,
): ReadonlyMap<string, string> {
  const files = lfs ? lfsFilesOf(mirror, commit) : [];
  if (git !== undefined) verifyStore(git, files, deep, findings);
  return new Map(files.map(({ path, oid }) => [path, oid]));
}

function verifyStore(git: string, files: readonly LfsFile[], deep: boolean, findings: Pick<Findings, "add">): void {
  const sizes = new Map(files.map(({ oid, size }) => [oid, size]));
  const store = join(git, storeName);
  const seen = new Set<string>();
  const top = lstatSync(join(git, "lfs"), { throwIfNoEntry: false });
  if (top && (!top.isDirectory() || sizes.size === 0)) findings.add(".git/lfs: is not of a clone");
  else if (!lstatSync(store, { throwIfNoEntry: false })?.isDirectory()) {
    if (top) findings.add(".git/lfs: is not of a clone");
  } else {
    for (const name of readdirSync(join(git, "lfs")))
      if (name !== "objects") findings.add(`.git/lfs/${name}: is not of a clone`);
    for (const entry of readdirSync(store, { recursive: true, withFileTypes: true })) {
      if (entry.isDirectory()) continue;
      const path = join(entry.parentPath, entry.name);
      const size = path === lfsPath(git, entry.name) ? sizes.get(entry.name) : undefined;
      const stat = lstatSync(path);
      // what is linked, where that is asked for, is the mirror's own
      const isOwn = stat.nlink > 1 || stat.uid === holderUid();
      const isRight = entry.isFile() && stat.size === size && (stat.mode & 0o7777) === 0o444 && isOwn;
      if (!isRight) findings.add(`.git/${storeName}/${entry.name}: is not of a clone`);
      else if (deep && fileDigest(path, constants.O_RDONLY | constants.O_NOFOLLOW) !== entry.name) {
        findings.add(`.git/${storeName}/${entry.name}: content`);
      } else seen.add(entry.name);
    }
  }
  for (const oid of sizes.keys()) if (!seen.has(oid)) findings.add(`.git/${storeName}/${oid}: is missing`);
}
