/** Merging the packs that fetches leave in a mirror: nothing of it is lost, and nobody who has or makes a clone notices. */
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { git, UpstreamRepository } from "../support/repositories.js";
import { dieAt, never } from "./dying.js";
import { Bench, Site } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;

beforeAll(() => {
  bench = new Bench();
});
afterAll(() => bench.close());

/** A mirror with a pack for each of nine fetches, with deltas against what came before. */
beforeEach(async () => {
  const name = `upstream-${++made}`;
  upstream = new UpstreamRepository(bench.at(name));
  upstream.commit("first", { "large.txt": lines(0), "odd/ünï.txt": "x\n" });
  mirror = await bench.mirror(upstream.path, `mirror-${made}`);
  for (let round = 1; round <= 9; round++) {
    upstream.commit(`round ${round}`, { "large.txt": lines(round), [`files/${round}.txt`]: `${round}\n` });
    if (round % 3 === 0) upstream.git("tag", "-a", "-m", "a tag", `v${round}`);
    await bench.fetch(mirror, upstream.path);
  }
});

/** Answers how many packs were replaced. */
async function maintain(): Promise<number> {
  const { packs } = await bench.engine.maintainMirror({ path: mirror, prune: false, keep: [], roomBytes: 0 });
  return packs;
}

function lines(round: number): string {
  return Array.from({ length: 2_000 }, (_, at) => `line ${at} ${at % 97 === round ? round : ""}\n`).join("");
}

function packs(): string[] {
  return readdirSync(join(mirror, "objects", "pack")).filter((name) => name.endsWith(".pack"));
}

function indexOf(pack: string): string {
  return join(mirror, "objects", "pack", pack.replace(/pack$/, "idx"));
}

function objects(): string {
  const format = "--batch-check=%(objectname) %(objecttype) %(objectsize)";
  return git(mirror, "cat-file", "--batch-all-objects", format);
}

test("G7 the small packs of many fetches become one, with the same objects, by git's own judgement", async () => {
  const before = objects();
  const bytes = packs().reduce((sum, name) => sum + readFileSync(join(mirror, "objects/pack", name)).length, 0);
  expect(packs().length).toBeGreaterThan(6);
  const replaced = await maintain();
  expect(replaced).toBeGreaterThan(6);
  expect(packs().length).toBeLessThan(4);
  expect(objects()).toBe(before);
  expect(git(mirror, "fsck", "--full", "--strict")).toBe("");
  for (const name of packs()) git(join(mirror, "objects", "pack"), "index-pack", "--strict", "--verify", name);
  const after = packs().reduce((sum, name) => sum + readFileSync(join(mirror, "objects/pack", name)).length, 0);
  expect(after).toBeLessThanOrEqual(bytes);
  expect(existsSync(join(mirror, "leasehold-merge"))).toBe(false);
  expect(await bench.engine.checkMirror(mirror)).toBe(true);
  expect(await maintain()).toBe(0);
  const commit = upstream.commit("after", { "large.txt": lines(50) });
  await bench.fetch(mirror, upstream.path);
  expect((await bench.engine.resolve(mirror, "")).commit).toBe(commit);
  expect(git(mirror, "fsck", "--full", "--strict")).toBe("");
});

test("G7 a workspace that was made before is still what a fresh clone would be, also looked at deeply, and one is made after", async () => {
  const before = new Site(bench, mirror, upstream.path, "w1");
  const target = await before.prepare("", { objectStorage: "LINK" });
  expect(await maintain()).toBeGreaterThan(6);
  for (const deep of [false, true]) {
    expect(await before.verify(target, { deep, objectStorage: "LINK" })).toMatchObject({ kind: "pristine" });
  }
  expect(git(before.path, "fsck", "--full", "--strict")).toBe("");
  const after = new Site(bench, mirror, upstream.path, "w2");
  await after.prepare("", { objectStorage: "LINK" });
  expect(await after.verify(target, { deep: true, objectStorage: "LINK" })).toMatchObject({ kind: "pristine" });
  expect(git(after.path, "fsck", "--full", "--strict")).toBe("");
  // a pack that never was the mirror's is found as before
  const directory = join(before.path, ".git", "objects", "pack");
  const [pack = ""] = readdirSync(directory).filter((name) => name.endsWith(".pack"));
  const foreign = join(directory, `pack-${"0".repeat(40)}.pack`);
  writeFileSync(foreign, readFileSync(join(directory, pack)), { mode: 0o444 });
  expect(await before.verify(target, { objectStorage: "LINK" })).toMatchObject({ kind: "differs" });
});

test("B3 G7 nothing is merged of a mirror in whose packs somebody has written", async () => {
  const site = new Site(bench, mirror, upstream.path, "w3");
  await site.prepare("", { objectStorage: "LINK" });
  const [name = ""] = packs();
  const linked = join(site.path, ".git", "objects", "pack", name);
  const bytes = readFileSync(linked);
  bytes[bytes.length - 30] = (bytes[bytes.length - 30] ?? 0) ^ 0xff;
  chmodSync(linked, 0o644);
  writeFileSync(linked, bytes);
  const before = packs();
  expect(await maintain()).toBe(0);
  expect(packs()).toEqual(before);
  expect(await bench.engine.checkMirror(mirror)).toBe(false);
});

test("B3 G7 damage that keeps size, permissions and time is not given another checksum either", async () => {
  const [name = ""] = packs();
  const path = join(mirror, "objects", "pack", name);
  const bytes = readFileSync(path);
  bytes[20] = (bytes[20] ?? 0) ^ 0xff;
  chmodSync(path, 0o644);
  const { atime, mtime } = statSync(path);
  writeFileSync(path, bytes);
  utimesSync(path, atime, mtime);
  chmodSync(path, 0o444);
  const before = packs();
  expect(await maintain()).toBe(0);
  expect(packs()).toEqual(before);
});

test("G7 killed at any change of the disk there is more than is needed and never less, and the next attempt tidies up", async () => {
  const template = mirror;
  const before = objects();
  let kills = 0;
  for (const [operation, stride] of [
    ["mergePacks", 25],
    ["swapPacks", 3],
  ] as const) {
    for (let step = 0; ; step += stride) {
      mirror = bench.at(`killed-${++made}.git`);
      cpSync(template, mirror, { recursive: true, preserveTimestamps: true });
      let request: unknown = mirror;
      if (operation === "swapPacks") {
        request = { mirror, made: JSON.parse(dieAt("mirror/pack-merge", "mergePacks", mirror, never) ?? "") };
      }
      const module = operation === "mergePacks" ? "mirror/pack-merge" : "mirror/pack-swap";
      const isDone = dieAt(module, operation, request, step) !== undefined;
      expect(objects()).toBe(before);
      expect(git(mirror, "fsck", "--full", "--strict")).toBe("");
      expect(await bench.engine.checkMirror(mirror)).toBe(true);
      expect(await bench.engine.inspectMirror(mirror)).toBeDefined();
      await bench.fetch(mirror, upstream.path);
      await maintain();
      expect(packs().filter((name) => existsSync(indexOf(name))).length).toBeLessThan(8);
      expect(existsSync(join(mirror, "leasehold-merge"))).toBe(false);
      expect(objects()).toBe(before);
      if (isDone) break;
      kills++;
    }
  }
  expect(kills).toBeGreaterThan(5);
});

test("G7 clones that are made meanwhile are whole", async () => {
  const sites = Array.from({ length: 6 }, (_, at) => new Site(bench, mirror, upstream.path, `w1${at}`));
  const [replaced, ...targets] = await Promise.all([
    maintain(),
    ...sites.map((site) => site.prepare("", { objectStorage: "LINK" })),
  ]);
  expect(replaced).toBeGreaterThan(6);
  for (const [at, site] of sites.entries()) {
    const target = targets[at];
    if (!target) throw new Error("no target");
    expect(await site.verify(target, { deep: true, objectStorage: "LINK" })).toMatchObject({ kind: "pristine" });
    expect(git(site.path, "fsck", "--full", "--strict")).toBe("");
  }
});

test("G7 the mirrors of submodules' upstreams are merged too, and keep what no reference reaches", async () => {
  const path = await bench.mirror(upstream.path, "modules/sub");
  const dropped = upstream.commit("dropped");
  await bench.fetch(path, upstream.path);
  upstream.git("reset", "-q", "--hard", "HEAD~1");
  for (let round = 0; round < 8; round++) {
    upstream.commit(`later ${round}`);
    await bench.fetch(path, upstream.path);
  }
  expect(await bench.engine.maintainModules(bench.at("modules"))).toBeGreaterThan(6);
  expect(git(path, "cat-file", "-t", dropped)).toBe("commit");
  expect(git(path, "fsck", "--full", "--strict", "--no-dangling")).toBe("");
  expect(await bench.engine.maintainModules(bench.at("nowhere"))).toBe(0);
});
