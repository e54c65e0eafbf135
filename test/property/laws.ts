/** Owns: playing one random sequence, and the two laws: the next lease is a fresh clone, and nothing was lost. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { expect } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type Portrait, plainEnvironment, plainGit, portrait } from "../hostile/portrait.js";
import { type Lane, type Stage, traces } from "../hostile/stage.js";
import type { Held } from "../support/rpc-client.js";
import { belongingsOf, lost } from "./belongings.js";
import { type Sequence, scriptOf, sequence } from "./operations.js";

const run = promisify(execFile);

export const tally = { sequences: 0, salvages: 0, quarantines: 0 };

/** Portraits of fresh clones, by where and what their upstream was. */
const known = new Map<string, { readonly refs: string; readonly fresh: Portrait }>();
let tags = 0;

/** Plays `count` sequences, one after the other in each lane; throws the shortest that breaks a law. */
export async function playSequences(stage: Stage, lanes: number, count: number, seed: number, limitMs: number) {
  const share = Math.ceil(count / lanes);
  const each = Array.from({ length: lanes }, (_, lane) =>
    stage.withLane((taken) =>
      fc.assert(
        fc.asyncProperty(sequence, (one) => told(one, obey(stage, taken, one))),
        {
          numRuns: Math.min(share, count - lane * share),
          seed: seed + lane,
          interruptAfterTimeLimit: limitMs,
          markInterruptAsFailure: false,
        },
      ),
    ),
  );
  const results = await Promise.allSettled(each);
  for (const result of results) if (result.status === "rejected") throw result.reason;
}

/** Every failure of a sequence, also of those that are merely tried while a shorter one is sought. */
async function told(one: Sequence, obeyed: Promise<void>): Promise<void> {
  try {
    await obeyed;
  } catch (error) {
    const { message, actual } = error as Error & { readonly actual?: unknown };
    const found = JSON.stringify(actual)?.slice(0, 2_000) ?? "";
    process.stdout.write(`a law was broken by ${JSON.stringify(one)}: ${message.slice(0, 2_000)} ${found}\n`);
    throw error;
  }
}

async function obey(stage: Stage, lane: Lane, one: Sequence): Promise<void> {
  lane.held ??= await stage.acquire(lane);
  const held = lane.held;
  await stage.play(scriptOf(one, `sequence ${++tags} of ${process.pid}`), lane);
  const had = await belongingsOf(held.path);
  await finish(stage, lane, held, one);
  const { salvages } = await stage.client.admin.listSalvages({ leaseId: held.leaseId });
  const [salvage] = salvages;
  tally.sequences += 1;
  if (salvage) tally.salvages += 1;
  const kept = salvage && { repository: salvage.repositoryPath, ref: salvage.ref };
  expect(await lost(had, { upstream: lane.url, salvage: kept }), "lost").toEqual([]);
  const next = await stage.acquire(lane);
  expect(await traces(next.path, await freshClone(stage, lane)), "traces").toEqual([]);
  expect(await stage.damage(), "damage").toEqual([]);
}

/** Ends the lease and waits until its workspace is clean or gone. */
async function finish(stage: Stage, lane: Lane, held: Held, { end }: Sequence): Promise<void> {
  const { client } = stage;
  const { workspaceId, leaseId } = held;
  if (end === "expiry") await stage.expire(lane);
  lane.held = undefined;
  if (end === "release") await client.release(held);
  if (end === "discard") await client.release(held, { disposition: Disposition.DISCARD });
  if (end === "reclaim") await client.workspaces.reclaim({ leaseIds: [leaseId] });
  if (end === "reset") await client.workspaces.reset({ workspaceId, force: true });
  const found = await stage.settled(workspaceId);
  if (found?.state !== WorkspaceState.QUARANTINED) return;
  tally.quarantines += 1;
  // so that the lane can be gone on with
  const abandon = { workspaceId, expectedFence: found.fence, force: true, abandonWork: true };
  await client.workspaces.reset(abandon).catch(() => {});
  throw new Error(`quarantined: ${found.problem}`);
}

/** As the upstream is now. */
async function freshClone(stage: Stage, lane: Lane): Promise<Portrait> {
  const refs = await plainGit(lane.url, "for-each-ref");
  const cached = known.get(lane.url);
  if (cached?.refs === refs) return cached.fresh;
  const place = await mkdtemp(join(stage.root, "fresh", "again-"));
  await run("git", ["clone", "--quiet", "--no-local", lane.url, join(place, "clone")], { env: plainEnvironment });
  const fresh = await portrait(join(place, "clone"));
  await rm(place, { recursive: true });
  known.set(lane.url, { refs, fresh });
  return fresh;
}
