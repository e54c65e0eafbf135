/**
 * Owns the proof that a workspace is what a fresh clone would be. Reads, and changes nothing.
 *
 * Invariants:
 * 1. Shares no comparison with what makes and cleans workspaces: only the readers of git's file formats.
 * 2. What is to be there comes from the mirror's commit, which the trusted index must add up to (`index-tree.ts`).
 * 3. What cannot be read, or is of a kind that is not expected, is a finding.
 */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import type { Verification } from "../../domain/verification.js";
import type { VerifyWorkspaceRequest } from "../../ports/git-engine.js";
import { Findings } from "./findings.js";
import { parseCommit } from "./git-object.js";
import { IndexFile } from "./index-file.js";
import { treeOfIndex } from "./index-tree.js";
import { ObjectStore } from "./object-store.js";
import { readTrustedIndex } from "./trusted-index.js";
import { readTrustedModules } from "./trusted-modules.js";
import { verifyFiles } from "./verify-files.js";
import { verifyGitDirectory } from "./verify-git-directory.js";
import { verifyLfs } from "./verify-lfs.js";
import { filledSubmodules, verifySubmodules } from "./verify-submodules.js";

export async function verifyWorkspace(request: VerifyWorkspaceRequest): Promise<Verification> {
  const { path, target, deep } = request;
  const findings = new Findings();
  let files = 0;
  if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    return { kind: "differs", findings: ["the directory is missing"], files };
  }
  const trusted = readTrustedIndex(request.trustedIndex);
  if (target.commit !== "" && trusted?.commit !== target.commit) {
    findings.add("what was checked out is not known");
  } else {
    const index = trusted ? new IndexFile(trusted.bytes) : IndexFile.empty();
    if (target.commit !== "") verifyIndex(index, request, findings);
    const { mirror } = request;
    const { commit } = target;
    const lfs = verifyLfs(join(path, ".git"), { mirror, commit, ...(target.lfs && { lfs: true }) }, deep, findings);
    const submodules = filledSubmodules(target.submodules);
    files = verifyFiles(path, index, { trustedMs: trusted?.writtenMs ?? 0, deep, submodules, lfs }, findings);
    const modules = readTrustedModules(request.trustedIndex, target.commit);
    files += verifySubmodules(path, target.submodules, modules, deep, findings);
    verifyGitDirectory(join(path, ".git"), request, trusted?.bytes, findings);
  }
  if (findings.told.length === 0) return { kind: "pristine", files };
  return { kind: "differs", findings: findings.all, files };
}

/** Invariant 2. */
function verifyIndex(index: IndexFile, { mirror, target }: VerifyWorkspaceRequest, findings: Findings): void {
  const objects = ObjectStore.of(join(mirror, "objects"));
  try {
    const { tree } = parseCommit(objects.read(target.commit, "commit"));
    if (treeOfIndex(index) !== tree) findings.add("the index is not the commit's");
  } finally {
    objects.close();
  }
}
