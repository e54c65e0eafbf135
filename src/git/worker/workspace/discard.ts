/** Owns giving a workspace up: everything of it goes into the trash. */

import type { CleanOutcome, DiscardWorkspaceRequest } from "../../../ports/git-engine.js";
import { describeMounts } from "../files/obstruction.js";
import { isThere, leftoversOf } from "../files/place.js";
import { TrashBin } from "../files/trash.js";
import { removeTrustedIndex } from "../index/trusted-index.js";

export async function discardWorkspace(request: DiscardWorkspaceRequest): Promise<CleanOutcome> {
  for (const path of request.candidates) {
    const detail = isThere(path) ? describeMounts(path) : undefined;
    if (detail !== undefined) return { kind: "obstructed", path, detail };
  }
  const bin = new TrashBin(request.trash);
  for (const place of request.candidates) {
    if (isThere(place)) bin.take(place);
    for (const leftover of leftoversOf(place)) bin.take(leftover);
  }
  removeTrustedIndex(request.trustedIndex);
  return { kind: "clean", recreated: false };
}
