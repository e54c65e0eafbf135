/**
 * The entry of a worker process: takes one call at a time from the server and answers it.
 *
 * Invariants:
 * 1. It dies with the server: the channel's end is its end, at once, also while libgit2's threads hang.
 * 2. Only the server ends it: signals that a terminal or a service manager sends to the whole group are ignored,
 *    so that calls finish while the server drains.
 */
import { rmSync } from "node:fs";
import { homedir } from "node:os";
import { basename } from "node:path";
import { type CallMessage, homePrefix, type Operations, type WorkerMessage } from "../protocol.js";
import { cleanWorkspace } from "./clean.js";
import { examineCommit } from "./commit-contents.js";
import { dropDependencies } from "./dependency-eviction.js";
import { removeDependencies, sweepDependencies } from "./dependency-sets.js";
import { discardWorkspace } from "./discard.js";
import { toFault } from "./fault.js";
import { asServer } from "./holder.js";
import { keepDependencies, placeDependencies } from "./kept-paths.js";
import { fetchLfs } from "./lfs-fetch.js";
import { selectManifests, workspaceFingerprint } from "./manifests.js";
import { measure } from "./measure.js";
import { cloneMirror, fetchMirror } from "./mirror.js";
import { inspectMirror } from "./mirror-check.js";
import { damagedObjects } from "./mirror-record.js";
import { mergePacks, swapPacks } from "./pack-merge.js";
import { prepareWorkspace } from "./prepare.js";
import { refreshWorkspace } from "./refresh.js";
import { resolveRevision } from "./resolve.js";
import { restoreSalvage } from "./restore.js";
import { salvageWork } from "./salvage.js";
import { discardSalvage } from "./salvage-repository.js";
import { findStragglers } from "./stragglers.js";
import { emptyTrash } from "./trash.js";
import { verifyWorkspace } from "./verify.js";

const operations: Operations = {
  cloneMirror,
  fetchMirror,
  inspectMirror,
  checkMirror: async (path) => damagedObjects(path).length === 0,
  resolve: resolveRevision,
  examineCommit,
  fetchLfs,
  prepareWorkspace,
  refreshWorkspace,
  cleanWorkspace,
  discardWorkspace,
  verifyWorkspace,
  findStragglers,
  salvageWork,
  restoreSalvage,
  discardSalvage,
  selectManifests,
  workspaceFingerprint,
  keepDependencies,
  placeDependencies,
  sweepDependencies,
  dropDependencies,
  removeDependencies,
  mergePacks,
  swapPacks,
  measure,
  emptyTrash: async (trash) => emptyTrash(trash),
};

function send(message: WorkerMessage): void {
  process.send?.(message, undefined, undefined, () => {});
}

process.on("disconnect", () => {
  // the server removes this process's home, unless it was killed
  const home = homedir();
  try {
    if (basename(home).startsWith(homePrefix)) asServer(() => rmSync(home, { recursive: true, force: true }));
  } catch {
    // it is empty or nearly so
  }
  process.kill(process.pid, "SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});

process.on("message", (message: CallMessage) => {
  send({ kind: "started" });
  // The table's own types tie each name to its job; what came over the channel has lost them.
  const operation = operations[message.operation] as (job: unknown, report: unknown) => Promise<unknown>;
  operation(message.job, (progress: never) => send({ kind: "progress", progress })).then(
    (answer) => send({ kind: "done", answer, rss: process.memoryUsage.rss() }),
    (error: unknown) => send({ kind: "failed", fault: toFault(error), rss: process.memoryUsage.rss() }),
  );
});
send({ kind: "ready" });
