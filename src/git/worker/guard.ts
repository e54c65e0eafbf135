/**
 * Owns the refusal to destroy work that exists nowhere else.
 *
 * Invariants:
 * 1. It runs before anything is moved, so what it refuses to destroy is exactly as it was.
 * 2. What cannot be examined counts as work, but for failures of this host's disk, which are told as such.
 */
import type { CleanOutcome } from "../../ports/git-engine.js";
import { isHostFault } from "./fault.js";
import { asOwnerOf } from "./holder.js";
import { beside, isDirectory } from "./place.js";
import { removeTree } from "./trash.js";
import { readTrustedIndex } from "./trusted-index.js";
import { readTrustedModules } from "./trusted-modules.js";
import { describeWork, findWork } from "./unsaved-work.js";

export interface Guarded {
  readonly mirror: string;
  readonly candidates: readonly string[];
  readonly trustedIndex: string;
  readonly from: string;
}

/** `unsaved` for the first candidate that holds work; undefined if none does. */
export async function guard(request: Guarded): Promise<CleanOutcome | undefined> {
  const { mirror, trustedIndex, from } = request;
  for (const path of new Set(request.candidates.filter(isDirectory))) {
    const work = path + beside.guard;
    removeTree(work);
    try {
      const trusted = readTrustedIndex(trustedIndex);
      const commit = trusted?.commit ?? from;
      const modules = trusted ? readTrustedModules(trustedIndex, commit) : [];
      const detail = await asOwnerOf(path, async () => {
        const found = await findWork({ path, mirror, from: commit, trusted, modules, salvageIgnored: [], work });
        found.release();
        return describeWork(found);
      });
      if (detail !== undefined) return { kind: "unsaved", path, detail };
    } catch (error) {
      if (isHostFault(error)) throw error;
      return { kind: "unsaved", path, detail: "files that could not be examined" };
    } finally {
      removeTree(work);
    }
  }
  return undefined;
}
