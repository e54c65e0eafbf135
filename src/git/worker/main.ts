/**
 * The entry of a worker process: takes one call at a time from the server and answers it.
 *
 * Invariants:
 * 1. It dies with the server, at once, whatever its own thread or libgit2's do: a thread waits for nothing else (lifeline.ts).
 * 2. Only the server ends it: signals that a terminal or a service manager sends to the whole group are ignored,
 *    so that calls finish while the server drains.
 */
import { Worker } from "node:worker_threads";
import type { CallMessage, Operations, WorkerMessage } from "../protocol.js";
import { dropDependencies } from "./dependencies/dependency-eviction.js";
import { removeDependencies, sweepDependencies } from "./dependencies/dependency-sets.js";
import { keepDependencies, placeDependencies } from "./dependencies/kept-paths.js";
import { selectManifests, workspaceFingerprint } from "./dependencies/manifests.js";
import { toFault } from "./files/fault.js";
import { measure } from "./files/measure.js";
import { findStragglers } from "./files/stragglers.js";
import { emptyTrash } from "./files/trash.js";
import { cloneMirror, fetchMirror } from "./mirror/mirror.js";
import { inspectMirror } from "./mirror/mirror-check.js";
import { damagedObjects } from "./mirror/mirror-record.js";
import { mergePacks } from "./mirror/pack-merge.js";
import { rewritePacks } from "./mirror/pack-rewrite.js";
import { swapPacks } from "./mirror/pack-swap.js";
import { resolveRevision } from "./mirror/resolve.js";
import { fetchLfs } from "./modules/lfs-fetch.js";
import { examineCommit } from "./objects/commit-contents.js";
import { restoreSalvage } from "./salvage/restore.js";
import { salvageWork } from "./salvage/salvage.js";
import { dropPacks, planPacks } from "./salvage/salvage-packs.js";
import { discardSalvage } from "./salvage/salvage-repository.js";
import { verifyWorkspace } from "./verify/verify.js";
import { cleanWorkspace } from "./workspace/clean.js";
import { discardWorkspace } from "./workspace/discard.js";
import { prepareWorkspace } from "./workspace/prepare.js";
import { refreshWorkspace } from "./workspace/refresh.js";

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
  makePack: async (request) => (request.prune ? await rewritePacks(request) : undefined) ?? mergePacks(request.path),
  swapPacks,
  planPacks: async (job) => planPacks(job),
  dropPacks: async (job) => dropPacks(job),
  measure,
  emptyTrash: async (trash) => emptyTrash(trash),
};

function send(message: WorkerMessage): void {
  process.send?.(message, undefined, undefined, () => {});
}

// it keeps this process alive until it ends it: a process whose channel is closed would leave by itself, and its home behind
new Worker(new URL("./lifeline.js", import.meta.url), { name: "lifeline" });
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
