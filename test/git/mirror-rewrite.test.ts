/** Making a mirror anew as one pack: what nothing needs goes, all else stays, and who has or makes a clone does not notice. */
import { randomBytes } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { MadePack } from "../../src/git/protocol.js";
import { git, UpstreamRepository } from "../support/repositories.js";
import { dieAt, never } from "./dying.js";
import { Bench, Site } from "./support.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const roomBytes = 1e9;
let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let gone: string;
let made = 0;

beforeAll(() => {
  bench = new Bench();
});
afterAll(() => bench.close());

/** A mirror in which half is of a branch that has been deleted since; and tags of everything that there is. */
beforeEach(async () => {
  upstream = new UpstreamRepository(bench.at(`upstream-${++made}`));
  const first = upstream.commit("first", { "large.bin": randomBytes(1_000_000), "odd/ünï.txt": "x\n" });
  upstream.git("tag", "-a", "-m", "a tag", "v1");
  upstream.git("tag", "-a", "-m", "a tag of a tag", "v2", "v1");
  upstream.git("tag", "-a", "-m", "a tag of a tree", "tree", `${first}^{tree}`);
  upstream.git("tag", "blob", `${first}:large.bin`);
  upstream.commit("second", { "small.txt": "x\n" });
  upstream.git("checkout", "-q", "-b", "topic");
  gone = upstream.commit("gone", { "gone.bin": randomBytes(1_000_000), "gone.txt": "gone\n" });
  upstream.git("checkout", "-q", "main");
  mirror = await bench.mirror(upstream.path, `mirror-${made}`);
});

async function dropTopic(): Promise<void> {
  upstream.git("branch", "-q", "-D", "topic");
  await bench.fetch(mirror, upstream.path);
  longAgo();
}

/** As if its references had been what they are for more than fourteen days. */
function longAgo(): void {
  const file = join(mirror, "leasehold-former-tips");
  const before = readFileSync(file, "utf8");
  expect(before).not.toBe("");
  const day = 24 * 3_600_000;
  writeFileSync(
    file,
    before.replace(/^\d+/gm, (time) => String(Number(time) - 14 * day)),
  );
}

function maintain(keep: readonly string[] = []) {
  return bench.engine.maintainMirror({ path: mirror, prune: true, keep, roomBytes });
}

function has(id: string): boolean {
  return objects().includes(id);
}

function objects(): string {
  return git(mirror, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype) %(objectsize)");
}

function packBytes(): number {
  const directory = join(mirror, "objects", "pack");
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}

/** What git itself finds that the references need. */
function reachable(): number {
  return git(mirror, "rev-list", "--objects", "--all").trim().split("\n").length;
}

test("G7 what no reference reaches goes, and nothing else, by git's own judgement", async () => {
  expect(await maintain()).toEqual({ packs: 0, rewritten: false });
  await dropTopic();
  const before = packBytes();
  yesterday();
  expect(await maintain()).toMatchObject({ rewritten: true });
  expect(has(gone)).toBe(false);
  expect(packBytes()).toBeLessThan(before * 0.6);
  expect(objects().trim().split("\n")).toHaveLength(reachable());
  expect(git(mirror, "fsck", "--full", "--strict")).toBe("");
  expect(await bench.engine.checkMirror(mirror)).toBe(true);
  expect(existsSync(join(mirror, "leasehold-merge"))).toBe(false);
  // and what was pruned comes back when the upstream has it again
  upstream.git("branch", "topic", gone);
  await bench.fetch(mirror, upstream.path);
  expect((await bench.engine.resolve(mirror, "topic")).commit).toBe(gone);
  const site = new Site(bench, mirror, upstream.path, `back-${made}`);
  const target = await site.prepare("topic");
  expect(await site.verify(target, { deep: true })).toMatchObject({ kind: "pristine" });
  expect(git(mirror, "fsck", "--full", "--strict")).toBe("");
});

test("G1 G7 what a branch that was deleted upstream had stays for fourteen days, as a salvage does: nobody salvaged it", async () => {
  const main = upstream.commit("forwards", { "small.txt": "y\n" });
  upstream.git("tag", "-f", "-a", "-m", "the same tag elsewhere", "v1");
  await bench.fetch(mirror, upstream.path);
  const tag = upstream.id("v1");
  upstream.git("reset", "-q", "--hard", "HEAD~1");
  upstream.git("tag", "-d", "v1");
  await dropTopic();
  const file = join(mirror, "leasehold-former-tips");
  const noted = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.slice(-40));
  // the tag's first place is on the branch that went forwards
  expect(noted.sort()).toEqual([gone, main, tag].sort());
  const day = 24 * 3_600_000;
  const asOf = (days: number): void =>
    writeFileSync(file, noted.map((id) => `${Date.now() - days * day} ${id}\n`).join(""));
  asOf(13);
  expect(await maintain()).toEqual({ packs: 0, rewritten: false });
  expect(git(mirror, "rev-list", "--objects", gone)).toContain("gone.bin");
  yesterday();
  asOf(14);
  expect(await maintain()).toMatchObject({ rewritten: true });
  expect(has(gone)).toBe(false);
});

test("G7 commits that are kept stay, with all that they reach", async () => {
  await dropTopic();
  const other = upstream.git("rev-parse", "main").trim();
  expect(await maintain([gone, other, "0".repeat(40)])).toEqual({ packs: 0, rewritten: false });
  upstream.commit("large", { "more.bin": randomBytes(3_000_000) });
  await bench.fetch(mirror, upstream.path);
  upstream.git("reset", "-q", "--hard", "HEAD~1");
  await bench.fetch(mirror, upstream.path);
  longAgo();
  yesterday();
  await maintain([gone]);
  expect(has(gone)).toBe(true);
  expect(git(mirror, "rev-list", "--objects", gone)).toContain("gone.bin");
});

test("G7 a workspace at what has gone is still what a fresh clone was, and can be cleaned for the next holder", async () => {
  const site = new Site(bench, mirror, upstream.path, `workspace-${made}`);
  const target = await site.prepare("topic", { objectStorage: "LINK" });
  await dropTopic();
  expect(await maintain()).toMatchObject({ rewritten: true });
  expect(git(site.path, "fsck", "--full", "--strict")).toBe("");
  const next = await site.target("");
  expect(await site.clean(target.commit, next, { objectStorage: "LINK" })).toMatchObject({ kind: "clean" });
  expect(await site.verify(next, { deep: true, objectStorage: "LINK" })).toMatchObject({ kind: "pristine" });
});

test("G7 a mirror is looked at once a day, unless it has grown by half", async () => {
  await maintain();
  await dropTopic();
  expect(await maintain()).toEqual({ packs: 0, rewritten: false });
  expect(has(gone)).toBe(true);
  upstream.commit("large", { "more.bin": randomBytes(1_500_000) });
  await bench.fetch(mirror, upstream.path);
  expect(await maintain()).toMatchObject({ rewritten: true });
  expect(has(gone)).toBe(false);
});

test("G7 deltas are looked for among what many fetches brought", async () => {
  await maintain();
  const text = Array.from({ length: 40_000 }, () => randomBytes(12).toString("hex"));
  for (let round = 0; round < 5; round++) {
    text[round * 1_000] = "changed";
    // an upstream that gives away no deltas
    upstream.git("-c", "pack.window=0", "repack", "-q", "-a", "-d", "-f");
    upstream.commit(`round ${round}`, { "text.txt": `${text.join("\n")}\n` });
    await bench.fetch(mirror, upstream.path);
  }
  const before = [packBytes(), objects()] as const;
  expect(await maintain()).toMatchObject({ rewritten: true });
  expect(packBytes()).toBeLessThan(before[0] * 0.7);
  expect(objects().split("\n")).toHaveLength(before[1].split("\n").length);
  expect(git(mirror, "fsck", "--full", "--strict")).toBe("");
});

test("G7 what was made is thrown away where a fetch came in between, or one that was killed", async () => {
  await dropTopic();
  const template = mirror;
  for (const between of ["fetch", "a pack without references"] as const) {
    mirror = bench.at(`between-${++made}.git`);
    cpSync(template, mirror, { recursive: true, preserveTimestamps: true });
    const pack = make(never) as MadePack;
    upstream.git("branch", "-q", "-f", "topic", gone);
    upstream.commit(between, { [between]: randomBytes(1_000) });
    if (between !== "fetch") {
      cpSync(join(mirror, "packed-refs"), join(mirror, "packed-refs.before"));
    }
    await bench.fetch(mirror, upstream.path);
    if (between !== "fetch") cpSync(join(mirror, "packed-refs.before"), join(mirror, "packed-refs"));
    expect(dieAt("mirror/pack-swap", "swapPacks", { mirror, made: pack }, never)).toBe("false");
    expect(has(gone)).toBe(true);
    expect(git(mirror, "fsck", "--full", "--strict", "--no-dangling")).toBe("");
    upstream.git("branch", "-q", "-D", "topic");
  }
});

test("G7 killed at any change of the disk nothing that is needed is missing, and a later attempt ends it", async () => {
  await dropTopic();
  const template = mirror;
  const needed = git(mirror, "rev-list", "--objects", "--all")
    .trim()
    .split("\n")
    .map((line) => line.slice(0, 40));
  let kills = 0;
  for (const [operation, stride] of [
    ["rewritePacks", 4],
    ["swapPacks", 2],
  ] as const) {
    for (let step = 0; ; step += stride) {
      mirror = bench.at(`killed-${++made}.git`);
      cpSync(template, mirror, { recursive: true, preserveTimestamps: true });
      let isDone: boolean;
      if (operation === "rewritePacks") isDone = make(step) !== undefined;
      else isDone = dieAt("mirror/pack-swap", "swapPacks", { mirror, made: make(never) }, step) !== undefined;
      const there = objects();
      for (const id of needed) expect(there).toContain(id);
      expect(git(mirror, "fsck", "--full", "--strict", "--no-dangling")).toBe("");
      expect(await bench.engine.checkMirror(mirror)).toBe(true);
      expect(await bench.engine.inspectMirror(mirror)).toBeDefined();
      rmSync(join(mirror, "leasehold-rewrite.json"), { force: true });
      await maintain();
      expect(has(gone)).toBe(false);
      expect(existsSync(join(mirror, "leasehold-merge"))).toBe(false);
      rmSync(mirror, { recursive: true });
      if (isDone) break;
      kills++;
    }
  }
  expect(kills).toBeGreaterThan(5);
});

/** Undefined if it was killed. */
function make(step: number): MadePack | undefined {
  const answer = dieAt("mirror/pack-rewrite", "rewritePacks", { path: mirror, prune: true, keep: [], roomBytes }, step);
  return answer === undefined ? undefined : JSON.parse(answer);
}

function yesterday(): void {
  const state = join(mirror, "leasehold-rewrite.json");
  const time = statSync(state, { throwIfNoEntry: false })?.mtimeMs;
  if (time) utimesSync(state, (time - 25 * 3_600_000) / 1000, (time - 25 * 3_600_000) / 1000);
}
