/** Scans of several processes that are killed at any moment: each difference is recorded, and none as two. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { ChangeKind } from "../../src/client/index.js";
import { type RecordBatch, scan } from "../../src/client/scan.js";
import { chance } from "../support/sample.js";
import { git, Upstream } from "../support/upstream.js";

const roots: string[] = [];
afterAll(async () => {
  for (const root of roots) await rm(root, { recursive: true, force: true });
});

type Batch = Parameters<RecordBatch>[0];

test("E3 scans of two processes, killed eight times at any moment, record each difference exactly once", async () => {
  const root = await realpath(await mkdtemp(join(tmpdir(), "leasehold-scan-")));
  roots.push(root);
  const upstream = await Upstream.make(root, "demo");
  const directory = join(root, "work");
  const log = join(root, "recorded.jsonl");
  await git(root, "clone", "--quiet", upstream.url, directory);
  const baseCommit = await git(directory, "rev-parse", "HEAD");
  const read = () => readFileSync(log, { encoding: "utf8", flag: "a+" }).split("\n").filter(Boolean);
  let kills = 0;
  for (let round = 0; round < 8; round++) {
    const children = ["ada", "bob"].map((agent) => {
      const args = [resolve("test/support/scanning.mjs"), directory, baseCommit, agent, log, String(round)];
      return spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    });
    const closed = children.map((child) => once(child, "close"));
    // both are at work, and are killed wherever they then are
    await Promise.all(children.map((child) => child.stdout && once(child.stdout, "data")));
    for (const child of children) child.stdout?.resume();
    await pause(chance(800));
    for (const child of children) kills += child.kill("SIGKILL") ? 1 : 0;
    await Promise.all(closed);
  }
  // one that ended by itself would have failed
  expect(kills).toBe(16);
  const record: RecordBatch = async (batch) => {
    last.push(batch);
    return [];
  };
  const last: Batch[] = [];
  await scan({ sessionId: "n1", directory, baseCommit }, { agent: "cyd" }, record);
  // a batch that was heard twice is one: its request id and its contents are the same
  const batches = new Map<string, Batch>();
  for (const batch of [...read().map((line) => JSON.parse(line) as Batch), ...last]) {
    const known = batches.get(batch.requestId);
    if (known !== undefined) expect(batch).toEqual(known);
    batches.set(batch.requestId, batch);
  }
  const changes = [...batches.values()].flatMap((batch) => batch.changes);
  const added = changes.filter(({ kind }) => kind === ChangeKind.ADDED).map(({ path }) => path);
  const there = readdirSync(directory).filter((name) => /^(ada|bob)-/.test(name));
  expect(there.length).toBeGreaterThan(300);
  expect(added.sort()).toEqual(there.sort());
  // a scan that found nothing to do leaves nothing to do
  last.length = 0;
  await scan({ sessionId: "n1", directory, baseCommit }, { agent: "cyd" }, record);
  expect(last).toEqual([]);
  expect(readdirSync(join(directory, ".git/leasehold/n1/repository")).filter((name) => name === "index.lock")).toEqual(
    [],
  );
}, 120_000);
