/**
 * Owns finding out what agents changed in a workspace, and recording it.
 *
 * Invariants:
 * 1. Every difference between what two scans of a session saw is recorded once: for the agent whose scan came first,
 *    by whichever process, also if that process dies at any moment and another one goes on.
 * 2. Nothing that git shows of the workspace is changed: what is remembered is in `.git/leasehold`, so it goes with the
 *    files that it describes, when they are parked, when they come back, and when they are cleaned.
 */
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Change } from "../../gen/leasehold/v1/session_pb.js";
import { type FoundChange, takeCommits, takeFiles } from "./scan-difference.js";
import { mostHeads, ScanStates } from "./scan-state.js";
import { ScanTree } from "./scan-tree.js";

export interface ScanOptions {
  /** For whom to record. Must be attached. */
  readonly agent: string;
  readonly signal?: AbortSignal;
}

export interface ScanResult {
  /** What was recorded, with the sequence that it got; also what another scan had found and not recorded yet, perhaps for another agent. */
  readonly changes: readonly Change[];
  /** What git says of files that it could not read; they count as unchanged. */
  readonly problems: readonly string[];
}

export interface ScannedWorkspace {
  readonly sessionId: string;
  readonly directory: string;
  /** What the first scan compares with: the commit that the workspace was made with. */
  readonly baseCommit: string;
}

export type RecordBatch = (recording: {
  readonly agent: string;
  readonly requestId: string;
  readonly changes: readonly FoundChange[];
}) => Promise<readonly Change[]>;

/** How often a scan begins again because others were quicker; each time means that another one got on. */
const mostAttempts = 100;

export async function scan(place: ScannedWorkspace, options: ScanOptions, record: RecordBatch): Promise<ScanResult> {
  const { agent, signal } = options;
  const home = await homeOf(place);
  const states = new ScanStates(home);
  const tree = await ScanTree.open(place.directory, home, signal);
  const changes: Change[] = [];
  const carryOut = (plan: string) =>
    states.carryOut<FoundChange>(plan, async (batch) => void changes.push(...(await record(batch))));
  for (let attempt = 1; attempt <= mostAttempts; attempt++) {
    signal?.throwIfAborted();
    const last = await states.latest();
    // what was found before comes before
    for (const plan of last?.plans ?? []) await carryOut(plan);
    const head = await tree.head();
    const seen = await tree.snapshot();
    const from = last?.tree ?? (await tree.treeOf(place.baseCommit));
    const heads = last?.heads ?? [place.baseCommit];
    const { problems } = seen;
    if (last !== undefined && seen.tree === from && head === heads[0]) return { changes, problems };
    const plan = states.plan<FoundChange>(agent);
    const take = (change: FoundChange, bytes: number) => plan.add(change, bytes);
    await takeFiles(tree, from, seen.tree, heads[0] ?? "", take);
    await takeCommits(tree, head, heads, take);
    const any = plan.flush();
    const open = (last?.plans ?? []).filter((name) => states.isOpen(name));
    const next = {
      version: (last?.version ?? 0) + 1,
      tree: seen.tree,
      heads: [...new Set([head, ...heads])].slice(0, mostHeads),
      plans: any ? [...open, plan.name] : open,
    };
    if (!(await states.advance(next))) {
      await states.discard(plan.name);
      continue;
    }
    await carryOut(plan.name);
    await states.tidy(next);
    await tree.tidy([next.tree]);
    return { changes, problems };
  }
  throw new ScanError(`a scan of ${place.directory} did not get through: others scan it without a pause`);
}

/** The workspace cannot be scanned, from here or now. */
export class ScanError extends Error {
  override readonly name = "ScanError";
}

/** Where a session's scans keep what they know. */
async function homeOf({ sessionId, directory }: ScannedWorkspace): Promise<string> {
  if (!/^[A-Za-z0-9_-]+$/.test(sessionId)) throw new TypeError(`no session id: ${JSON.stringify(sessionId)}`);
  const dotGit = join(directory, ".git");
  if (!(await stat(dotGit).catch(() => undefined))?.isDirectory()) {
    throw new ScanError(
      `${directory} has no .git directory: a scan runs on the session's host, in a workspace that is whole`,
    );
  }
  const home = join(dotGit, "leasehold", sessionId);
  await mkdir(home, { recursive: true });
  return home;
}
