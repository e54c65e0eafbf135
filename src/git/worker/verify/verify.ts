/**
 * Owns the proof that a workspace is what a fresh clone would be. Reads, and changes nothing.
 *
 * Invariants:
 * 1. Shares no comparison with what makes and cleans workspaces: only the readers of git's file formats.
 * 2. What is to be there comes from the mirror's commit, which the trusted index must add up to (`index-tree.ts`).
 * 3. What cannot be read, or is of a kind that is not expected, is a finding. What this host fails at for want of room, of
 *    files, or by its disk, is none: it throws, and nothing is known of the workspace.
 */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import type { Verification } from "../../../domain/verification.js";
import { beside } from "../../../domain/workspace-directory.js";
import type { VerifyWorkspaceRequest } from "../../../ports/git-engine.js";
import { isHostFault } from "../files/fault.js";
import { asHolder } from "../files/holder.js";
import { IndexFile } from "../index/index-file.js";
import { treeOfIndex } from "../index/index-tree.js";
import { readTrustedIndex, type TrustedIndex } from "../index/trusted-index.js";
import { readTrustedModules } from "../index/trusted-modules.js";
import { damagedObjects } from "../mirror/mirror-record.js";
import { readRefs } from "../mirror/refs.js";
import { parseCommit } from "../objects/git-object.js";
import { ObjectStore } from "../objects/object-store.js";
import { Findings } from "./findings.js";
import { verifyContent } from "./verify-content.js";
import { verifyFiles } from "./verify-files.js";
import { verifyGitDirectory } from "./verify-git-directory.js";
import { verifyLfs } from "./verify-lfs.js";
import { neededIds, verifyObjects } from "./verify-objects.js";
import { clonedRefs } from "./verify-refs.js";
import { filledSubmodules, verifySubmodules } from "./verify-submodules.js";

export async function verifyWorkspace(request: VerifyWorkspaceRequest): Promise<Verification> {
  const { mirror, path, target, deep } = request;
  const findings = new Findings();
  if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    return { kind: "differs", findings: ["the directory is missing"], files: 0 };
  }
  const damaged = damagedObjects(mirror);
  for (const name of damaged) findings.add(`the mirror's objects/${name}: has been changed`);
  let isDamaged = damaged.length > 0;
  const trusted = target.commit === "" ? undefined : readTrustedIndex(request.trustedIndex);
  const index = trusted ? new IndexFile(trusted.bytes) : IndexFile.empty();
  let { length: files } = index;
  if (target.commit !== "" && trusted?.commit !== target.commit) {
    findings.add("what was checked out is not known");
  } else {
    const objectsPath = join(mirror, "objects");
    const objects = ObjectStore.of(objectsPath);
    try {
      if (target.commit !== "") verifyIndex(index, objects, target.commit, findings);
      const submodules = filledSubmodules(target.submodules);
      const trust = { trustedMs: trusted?.writtenMs ?? 0, deep, submodules };
      const { commit } = target;
      const contents = { mirror, commit, ...(target.lfs && { lfs: true }) };
      const git = join(path, ".git");
      // where it is none, that is found below
      const isGit = lstatSync(git, { throwIfNoEntry: false })?.isDirectory() ?? false;
      const lfs = asHolder(() => verifyLfs(isGit ? git : undefined, contents, deep, findings));
      const unproven = asHolder(() => verifyFiles(path, index, trust, findings));
      const scratch = path + beside.verified;
      await verifyContent({ path, commit, objectsPath, objects, scratch, lfs }, index, unproven, findings);
      const known = readTrustedModules(request.trustedIndex, commit);
      if (isGit) files += await verifySubmodules(request, scratch, known, findings);
      isDamaged = verifyGit(request, index, trusted, findings) || isDamaged;
    } catch (error) {
      if (isHostFault(error)) throw error;
      findings.add(`cannot be examined (${error instanceof Error ? error.message : error})`);
    } finally {
      objects.close();
    }
  }
  if (findings.told.length === 0) return { kind: "pristine", files };
  return { kind: "differs", findings: findings.all, files, ...(isDamaged && { mirrorDamaged: true }) };
}

/** Invariant 2. */
function verifyIndex(index: IndexFile, objects: ObjectStore, commit: string, findings: Findings): void {
  const { tree } = parseCommit(objects.read(commit, "commit"));
  if (treeOfIndex(index) !== tree) findings.add("the index is not the commit's");
}

/** Answers whether an object of the mirror itself is damaged. */
function verifyGit(
  request: VerifyWorkspaceRequest,
  index: IndexFile,
  trusted: TrustedIndex | undefined,
  findings: Findings,
): boolean {
  const { path, mirror, target, deep } = request;
  const git = join(path, ".git");
  if (!lstatSync(git, { throwIfNoEntry: false })?.isDirectory()) {
    findings.add(".git: is no directory");
    return false;
  }
  const refs = clonedRefs(git, mirror, readRefs(mirror), findings);
  asHolder(() => verifyGitDirectory(request, refs, trusted?.bytes, findings));
  if (!lstatSync(join(git, "objects"), { throwIfNoEntry: false })?.isDirectory()) return false;
  const storage = request.objectStorage ?? "AUTO";
  const needed = () => neededIds(target.commit, refs, deep ? index : undefined);
  const objects = join(git, "objects");
  return verifyObjects({ workspace: path, objects, mirror: join(mirror, "objects"), storage, deep, needed }, findings);
}
