/**
 * Owns the git engine: gives each call of the port to a worker of the right lane and says who is at fault if it fails.
 *
 * Invariants:
 * 1. No libgit2 in this process, and no file work that could block it.
 * 2. One fetch at a time per mirror, and no other one takes its place meanwhile, so that whoever fetches finds no
 *    half-done work of another, and leaves none in a mirror that it does not know.
 * 3. Packs of a mirror are taken away only while nobody reads it or links what is in it.
 * 4. No salvage is written into a repository of salvages while its last one is being discarded.
 */
import { randomBytes } from "node:crypto";
import { lstat, readdir, rm } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Maintained, MaintainMirrorRequest } from "../ports/background-files.js";
import type { GitEngine } from "../ports/git-engine.js";
import { type CallSubject, classify } from "./classify.js";
import { DirectoryTurns } from "./directory-turns.js";
import { surveyDirectories } from "./host-directories.js";
import { MirrorTurns } from "./mirror-turns.js";
import type { AnswerOf, JobOf, OperationName } from "./protocol.js";
import { type CallOptions, WorkerPool } from "./worker-pool.js";
import { listWorkspaces, workspaceExists } from "./workspace-directories.js";

/** How many workers each lane may have. A lane that is full never holds up another. */
export interface Lanes {
  /** Talks with upstreams, which may hang: default 8. */
  readonly upstream: number;
  /** Work on files: default processors + 1. */
  readonly local: number;
  /** Short questions to mirrors, which must not wait behind big checkouts: default 2. */
  readonly question: number;
}

/** Limits in milliseconds, from the call to its answer. */
export interface Timeouts {
  /** `resolve`, `inspectMirror`: default 1 minute. */
  readonly questionMs: number;
  /** `checkMirror`, `prepareWorkspace`, `cleanWorkspace`, `discardWorkspace`: default 15 minutes. */
  readonly filesMs: number;
  /** `emptyTrash`, `measure`, `maintainMirror`: default 1 hour. */
  readonly trashMs: number;
}

export interface GitEngineOptions {
  /** The built `worker/main.js`. */
  readonly workerEntry: string;
  readonly log?: (fields: object, message: string) => void;
  readonly lanes?: Partial<Lanes>;
  readonly timeouts?: Partial<Timeouts>;
  /** Whose the workspaces are. Unset: our own user's. */
  readonly holder?: { readonly uid: number; readonly gid: number };
}

/** How long maintenance waits for a moment in which nobody reads a mirror; longer for what took more work. */
const tryEveryMs = 100;
const momentMs = { merged: 10_000, rewritten: 10 * 60_000 };

type ReadingName =
  | "prepareWorkspace"
  | "refreshWorkspace"
  | "cleanWorkspace"
  | "verifyWorkspace"
  | "salvageWork"
  | "workspaceFingerprint"
  | "keepDependencies"
  | "placeDependencies";

export function createGitEngine(options: GitEngineOptions): GitEngine {
  const lanes: Lanes = { upstream: 8, local: cpus().length + 1, question: 2, ...options.lanes };
  const timeouts: Timeouts = { questionMs: 60_000, filesMs: 15 * 60_000, trashMs: 3_600_000, ...options.timeouts };
  const log = options.log ?? (() => {});
  const holder = options.holder && `${options.holder.uid}:${options.holder.gid}`;
  const pool = (size: number, keep: number, more: { maxCalls?: number } = {}): WorkerPool =>
    new WorkerPool({ entry: options.workerEntry, holder, size, keep, log, ...more });
  // one stays warm: a fetch that has nothing else to do costs less than starting a process does
  const upstream = pool(lanes.upstream, 1);
  const local = pool(lanes.local, 1);
  const question = pool(lanes.question, 1);
  // A process that has read a pack before goes on serving it from memory, whatever became of the file.
  const inspection = pool(lanes.question, 0, { maxCalls: 1 });
  const trash = pool(1, 0);
  // its workers have the lowest priority, and work for a part of the time only
  const behind = pool(1, 0);
  // never busy when somebody waits for it: everybody who needs that mirror waits then
  const swap = pool(1, 0);
  const turns = new MirrorTurns();
  const salvageTurns = new DirectoryTurns();
  // whoever reads or links objects of a mirror shares it; who takes packs away from it is alone
  const readers = new DirectoryTurns();
  const instance = randomBytes(6).toString("hex");
  let clones = 0;

  async function run<Name extends OperationName>(
    lane: WorkerPool,
    operation: Name,
    job: JobOf<Name>,
    call: CallOptions,
    subject: Omit<CallSubject, "operation"> = {},
  ): Promise<AnswerOf<Name>> {
    try {
      return await lane.call(operation, job, call);
    } catch (error) {
      throw classify(error, { operation, ...subject });
    }
  }

  /** Work on files that reads a mirror. */
  function reading<Name extends ReadingName>(operation: Name, request: JobOf<Name>): Promise<AnswerOf<Name>> {
    return readers.share(request.mirror, () => run(local, operation, request, { deadlineMs: timeouts.filesMs }));
  }

  /** What has been replaced under the workers' feet must not be served from what libgit2 has cached of it. */
  function forgetMirrors(): void {
    local.recycle();
    question.recycle();
    upstream.recycle();
  }

  async function maintain(request: MaintainMirrorRequest): Promise<Maintained> {
    const { path } = request;
    const call = { deadlineMs: timeouts.trashMs };
    const made = await readers.share(path, () => run(behind, "makePack", request, call));
    const nothing = { packs: 0, rewritten: false };
    if (!made) return nothing;
    const rewritten = made.refs !== "";
    const lastMs = performance.now() + (rewritten ? momentMs.rewritten : momentMs.merged);
    while (!readers.isFree(path)) {
      // what was made is thrown away with the next attempt
      if (performance.now() > lastMs) return nothing;
      await sleep(tryEveryMs);
    }
    const isSwapped = await readers.alone(path, async () => {
      const swapped = await run(swap, "swapPacks", { mirror: path, made }, { deadlineMs: timeouts.questionMs });
      // who has the old packs in memory would believe that what was left out is there
      if (swapped && rewritten) forgetMirrors();
      return swapped;
    });
    return isSwapped ? { packs: made.replaced.length, rewritten } : nothing;
  }

  return {
    async cloneMirror(request) {
      const { path, staging, url, credential, deadlineMs, signal, onProgress } = request;
      await removeForeign(staging, instance);
      clones += 1;
      const staged = join(staging, `${instance}-${clones}`);
      const job = { path, staged, url, ...(credential && { credential }) };
      let replaces = false;
      try {
        return await turns.take(path, deadlineMs, signal, async (leftMs) => {
          replaces = (await lstat(path).catch(() => undefined)) !== undefined;
          const call = { deadlineMs: leftMs, ...(signal && { signal }), ...(onProgress && { onProgress }) };
          return readers.share(path, () => upstream.call("cloneMirror", job, call));
        });
      } catch (error) {
        throw classify(error, { operation: "cloneMirror", url, own: [path, staging] });
      } finally {
        await rm(staged, { recursive: true, force: true }).catch((error: unknown) => log({ error }, "staging is left"));
        if (replaces) forgetMirrors();
      }
    },

    async fetchMirror(request) {
      const { path, url, credential, extraRefs, deadlineMs, signal } = request;
      const job = { path, url, extraRefs, ...(credential && { credential }) };
      const subject = { url, own: [path] };
      try {
        return await turns.take(path, deadlineMs, signal, (leftMs) =>
          readers.share(path, () =>
            upstream.call("fetchMirror", job, { deadlineMs: leftMs, ...(signal && { signal }) }),
          ),
        );
      } catch (error) {
        throw classify(error, { operation: "fetchMirror", ...subject });
      }
    },

    async inspectMirror(path) {
      const refs = await run(inspection, "inspectMirror", path, { deadlineMs: timeouts.questionMs });
      if (!refs) forgetMirrors();
      return refs;
    },

    checkMirror: (path) => readers.share(path, () => run(local, "checkMirror", path, { deadlineMs: timeouts.filesMs })),

    resolve: (mirror, revision) =>
      readers.share(mirror, () =>
        run(question, "resolve", { mirror, revision }, { deadlineMs: timeouts.questionMs }, { revision }),
      ),

    async fetchLfs({ mirror, source, objects, credential, deadlineMs }) {
      const job = { mirror, source, objects, ...(credential && { credential }) };
      const url = source.kind === "http" ? source.url : source.path;
      try {
        await turns.take(mirror, deadlineMs, undefined, (leftMs) =>
          upstream.call("fetchLfs", job, { deadlineMs: leftMs }),
        );
      } catch (error) {
        throw classify(error, { operation: "fetchLfs", url, own: [mirror] });
      }
    },

    examineCommit: (mirror, commit) =>
      readers.share(mirror, () =>
        run(question, "examineCommit", { mirror, commit }, { deadlineMs: timeouts.questionMs }),
      ),

    listWorkspaces,
    workspaceExists: (path) => workspaceExists(path, options.holder?.uid ?? process.geteuid?.()),

    prepareWorkspace: (request) => reading("prepareWorkspace", request),
    refreshWorkspace: (request) => reading("refreshWorkspace", request),
    cleanWorkspace: (request) => reading("cleanWorkspace", request),
    discardWorkspace: (request) => run(local, "discardWorkspace", request, { deadlineMs: timeouts.filesMs }),

    verifyWorkspace: (request) => reading("verifyWorkspace", request),
    findStragglers: (request) => {
      const own = [
        process.pid,
        ...[upstream, local, question, inspection, trash, behind, swap].flatMap((lane) => lane.pids),
      ];
      return run(local, "findStragglers", { ...request, own }, { deadlineMs: timeouts.questionMs });
    },

    salvageWork: (request) => salvageTurns.share(request.salvages, () => reading("salvageWork", request)),
    restoreSalvage: (request) =>
      salvageTurns.share(request.salvages, () =>
        run(local, "restoreSalvage", request, { deadlineMs: timeouts.filesMs }),
      ),
    discardSalvage: (salvages, ref) =>
      salvageTurns.alone(salvages, () =>
        run(local, "discardSalvage", { salvages, ref }, { deadlineMs: timeouts.filesMs }),
      ),

    selectManifests: (request) =>
      readers.share(request.mirror, () =>
        run(question, "selectManifests", request, { deadlineMs: timeouts.questionMs }),
      ),
    workspaceFingerprint: (request) => reading("workspaceFingerprint", request),
    keepDependencies: (request) => reading("keepDependencies", request),
    placeDependencies: (request) => reading("placeDependencies", request),
    sweepDependencies: (request) => run(local, "sweepDependencies", request, { deadlineMs: timeouts.filesMs }),
    dropDependencies: (request) => run(local, "dropDependencies", request, { deadlineMs: timeouts.filesMs }),
    removeDependencies: (store, directory) =>
      run(local, "removeDependencies", { store, trash: directory }, { deadlineMs: timeouts.filesMs }),

    survey: surveyDirectories,
    clearStaging: (staging) => removeForeign(staging, instance),

    maintainMirror: maintain,
    async maintainModules(directory) {
      let packs = 0;
      const names = await readdir(directory).catch(() => []);
      for (const name of names.filter((one) => one.endsWith(".git"))) {
        packs += (await maintain({ path: join(directory, name), prune: false, keep: [], roomBytes: 0 })).packs;
      }
      return packs;
    },
    async maintainSalvages(request) {
      const { salvages, mirror } = request;
      const call = { deadlineMs: timeouts.filesMs };
      const spare = await salvageTurns.share(salvages, () =>
        readers.share(mirror, () => run(behind, "planPacks", request, call)),
      );
      if (!spare) return 0;
      return salvageTurns.alone(salvages, () => run(swap, "dropPacks", { salvages, spare }, call));
    },

    measure: (request) => run(behind, "measure", request, { deadlineMs: timeouts.trashMs }),
    emptyTrash: (directory) => run(trash, "emptyTrash", directory, { deadlineMs: timeouts.trashMs }),

    async close() {
      await Promise.all([upstream, local, question, inspection, trash, behind, swap].map((lane) => lane.close()));
    },
  };
}

/** Removes what clones of earlier server processes left in the staging directory. */
async function removeForeign(staging: string, instance: string): Promise<number> {
  const foreign = (await readdir(staging).catch(() => [])).filter((name) => !name.startsWith(`${instance}-`));
  for (const name of foreign) await rm(join(staging, name), { recursive: true, force: true }).catch(() => {});
  return foreign.length;
}
