/** Packs that no salvage needs leave the repository of salvages, and what a salvage needs never does. */
import { randomBytes } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { SparePacks } from "../../src/git/protocol.js";
import { git, UpstreamRepository } from "../support/repositories.js";
import { dieAt, never } from "./dying.js";
import { committed, Job, worktree } from "./salvage-support.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let salvages: string;
let made = 0;

beforeAll(() => {
  bench = new Bench();
});
afterAll(() => bench.close());

beforeEach(async () => {
  const name = `upstream-${++made}`;
  upstream = new UpstreamRepository(bench.at(name));
  upstream.commit("base", { "large.bin": randomBytes(1_200_000), "dir/b.txt": "bbb\n" });
  mirror = await bench.mirror(upstream.path, name);
  salvages = bench.at("salvages", `${name}.git`);
});

/** Salvages a file of its own from a new workspace. */
async function salvage(revision = "") {
  const job = await Job.start(bench, mirror, upstream.path, revision, salvages);
  writeFileSync(join(job.path, "mine.bin"), randomBytes(100_000));
  const saved = await job.saved();
  return { job, ref: saved.ref, files: worktree(job.path) };
}

type Salvaged = Awaited<ReturnType<typeof salvage>>;

function maintain(): Promise<number> {
  return bench.engine.maintainSalvages(request());
}

function request() {
  return { salvages, mirror, modules: bench.at("modules") };
}

async function fetchMany(): Promise<void> {
  for (let round = 0; round < 9; round++) {
    upstream.commit(`round ${round}`, { "dir/b.txt": `${round}\n` });
    await bench.fetch(mirror, upstream.path);
  }
}

function packs(of: string): string[] {
  return readdirSync(join(of, "objects", "pack"))
    .filter((name) => name.endsWith(".pack"))
    .sort();
}

/** With plain git, into a repository that has nothing. */
function expectWhole({ job, ref, files }: Salvaged): void {
  expect(git(salvages, "fsck", "--full", "--strict", "--no-dangling")).toBe("");
  expect(committed(job.fetched(ref), "salvaged")).toEqual(files);
}

test("G7 G2 packs of a mirror that has merged them go, and the salvages are what they were", async () => {
  const first = await salvage();
  await fetchMany();
  const second = await salvage();
  const before = packs(salvages);
  const merged = await bench.engine.maintainMirror({ path: mirror, prune: false, keep: [], roomBytes: 0 });
  expect(merged.packs).toBeGreaterThan(5);
  expect(await maintain()).toBeGreaterThan(5);
  const after = packs(salvages);
  expect(after.length).toBeLessThan(before.length - 5);
  for (const name of packs(mirror)) expect(after).toContain(name);
  expect(after).toHaveLength(packs(mirror).length + 2);
  for (const one of [first, second]) expectWhole(one);
  expect(await maintain()).toBe(0);
});

test("G7 D5 what a discarded salvage had goes, and what the others have stays", async () => {
  const [first, second] = [await salvage(), await salvage()];
  expect(await maintain()).toBe(0);
  const before = bytes();
  await bench.engine.discardSalvage(salvages, first.ref);
  expect(await maintain()).toBe(1);
  expect(bytes()).toBeLessThan(before - 90_000);
  expectWhole(second);
});

test("G1 G7 the commit that a salvage began at stays with it, though the mirror no longer has it", async () => {
  upstream.git("checkout", "-q", "-b", "topic");
  const gone = upstream.commit("gone", { "gone.bin": randomBytes(1_200_000) });
  upstream.git("checkout", "-q", "main");
  await bench.fetch(mirror, upstream.path);
  const salvaged = await salvage("topic");
  upstream.git("branch", "-q", "-D", "topic");
  await bench.fetch(mirror, upstream.path);
  rmSync(join(mirror, "leasehold-former-tips"));
  const rewritten = await bench.engine.maintainMirror({ path: mirror, prune: true, keep: [], roomBytes: 1e9 });
  expect(rewritten).toMatchObject({ rewritten: true });
  expect(() => git(mirror, "cat-file", "-e", gone)).toThrow();
  await maintain();
  expectWhole(salvaged);
  // only the pack that has it stays of those that the mirror had
  expect(packs(salvages).length).toBeLessThanOrEqual(packs(mirror).length + 2);
});

test("G7 G2 nothing goes where a salvage was saved in between", async () => {
  const first = await salvage();
  await salvage();
  await bench.engine.discardSalvage(salvages, first.ref);
  const spare = JSON.parse(dieAt("salvage/salvage-packs", "planPacks", request(), never) ?? "") as SparePacks;
  expect(spare.packs).toHaveLength(1);
  const third = await salvage();
  expect(dieAt("salvage/salvage-packs", "dropPacks", { salvages, spare }, never)).toBe("0");
  expectWhole(third);
  expect(await maintain()).toBe(1);
  expectWhole(third);
});

test("G7 G2 killed at any change of the disk, all salvages are whole, and the next attempt ends it", async () => {
  const first = await salvage();
  const second = await salvage();
  await fetchMany();
  await bench.engine.maintainMirror({ path: mirror, prune: false, keep: [], roomBytes: 0 });
  await bench.engine.discardSalvage(salvages, first.ref);
  const template = salvages;
  let kills = 0;
  for (const operation of ["planPacks", "dropPacks"] as const) {
    for (let step = 0; ; step++) {
      salvages = bench.at("killed", `${++made}.git`);
      cpSync(template, salvages, { recursive: true });
      let job: unknown = request();
      if (operation === "dropPacks") {
        job = { salvages, spare: JSON.parse(dieAt("salvage/salvage-packs", "planPacks", job, never) ?? "") };
      }
      const isDone = dieAt("salvage/salvage-packs", operation, job, step) !== undefined;
      expect(git(salvages, "fsck", "--full", "--strict", "--no-dangling")).toBe("");
      await maintain();
      expect(packs(salvages)).toHaveLength(packs(mirror).length + 1);
      expect(git(salvages, "ls-tree", "--name-only", second.ref)).toContain("mine.bin");
      if (isDone) break;
      kills++;
    }
  }
  expect(kills).toBeGreaterThan(2);
});

test("G7 a mirror in whose packs somebody has written vouches for nothing", async () => {
  const first = await salvage();
  await salvage();
  await bench.engine.discardSalvage(salvages, first.ref);
  const [name = ""] = packs(mirror);
  const path = join(mirror, "objects", "pack", name);
  const content = readFileSync(path);
  rmSync(path);
  writeFileSync(path, content.subarray(0, -1), { mode: 0o444 });
  expect(await maintain()).toBe(0);
});

function bytes(): number {
  const directory = join(salvages, "objects", "pack");
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}
