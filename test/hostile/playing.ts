/** Owns: playing a table of mischief: each kind, by release or by expiry (in the soak by both), and the judgement of the next lease. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import type { Held } from "../support/rpc-client.js";
import { inTurn } from "../support/sample.js";
import { useServers } from "../support/server.js";
import type { Mischief } from "./mischief.js";
import { counts, type Lane, Stage, traces } from "./stage.js";

const run = promisify(execFile);
/** Kinds at once. */
const lanes = 8;
/** A kind takes seconds, on a starved machine minutes. */
const limitMs = 180_000;

/** At the top level of a file: plays all of the table on one server, several kinds at once. */
export function playAll(theme: string, table: readonly Mischief[]): void {
  vi.setConfig({ maxConcurrency: lanes });
  const servers = useServers();
  let stage: Stage;
  beforeAll(async () => {
    stage = await Stage.open(servers, lanes);
  }, limitMs);
  afterAll(() => stage?.close());

  describe.concurrent(theme, () => {
    for (const [turn, kind] of table.entries()) {
      it(`A5 G1 no trace of ${kind.name}`, { timeout: limitMs }, async ({ skip }) => {
        const reason = await missing(kind);
        if (reason !== undefined) {
          process.stdout.write(`skipped: ${kind.name}: ${reason} fails here\n`);
          skip(reason);
        }
        await stage.withLane(async (lane) => {
          for (const end of inTurn(["release", "expiry"] as const, turn)) await playOnce(stage, lane, kind, end);
        });
      });
    }
  });

  it(`A5 G1 after all of ${theme}: nothing was run, and nothing beside the workspaces was changed`, async () => {
    expect(await stage.damage()).toEqual([]);
    expect(await stage.damageAround()).toEqual([]);
    process.stdout.write(
      `${theme}: ${table.length} kinds, ${counts.leases} leases, ${counts.quarantines} quarantines\n`,
    );
  });
}

/** Does it, ends the lease, and compares the workspace's next lease with a fresh clone. */
export async function playOnce(stage: Stage, lane: Lane, kind: Mischief, end: "release" | "expiry"): Promise<void> {
  const { workspaceId, path } = lane.held as Held;
  await stage.play(kind.script, lane);
  try {
    if (end === "release") await stage.release(lane);
    else await stage.expire(lane);
    await leaveQuarantine(stage, lane, { workspaceId, path }, kind);
    const next = await stage.acquire(lane);
    expect(next.workspaceId).toBe(workspaceId);
    expect(await traces(next.path, lane.fresh), `after ${end}`).toEqual([]);
    expect(await stage.damage(), `after ${end}`).toEqual([]);
  } finally {
    await undo(stage, lane, kind, path);
  }
}

/** Nothing may be quarantined but what the table allows, and then with a problem that says why. */
async function leaveQuarantine(stage: Stage, lane: Lane, at: Pick<Held, "workspaceId" | "path">, kind: Mischief) {
  const { workspaceId } = at;
  const found = await stage.settled(workspaceId);
  if (found?.state !== WorkspaceState.QUARANTINED) return;
  const { problem } = found;
  counts.quarantines += 1;
  expect(problem, "quarantined").toMatch(kind.mayQuarantine ?? "what may not be quarantined");
  await undo(stage, lane, kind, at.path);
  await stage.client.workspaces.reset({ workspaceId });
  await stage.settled(workspaceId);
}

async function undo(
  { scratch, server }: Stage,
  { name, url }: Lane,
  { undo: script }: Mischief,
  path: string,
): Promise<void> {
  if (script === undefined) return;
  const env = { PATH: process.env.PATH, WORK: path, URL: url, DATA: server.dataDir, LANE: join(scratch, name) };
  await run("bash", ["--norc", "-c", script], { cwd: scratch, env });
}

/** Why it cannot be done on this machine. */
export async function missing({ needs }: Mischief): Promise<string | undefined> {
  if (needs === undefined) return undefined;
  const cwd = await mkdtemp(join(tmpdir(), "leasehold-needs-"));
  try {
    await run("bash", ["--norc", "-eu", "-c", needs], { cwd });
    return undefined;
  } catch {
    return needs;
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}
