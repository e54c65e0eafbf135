/** Bringing the objects of one repository into another: whole or not at all, whenever it is stopped. */
import {
  closeSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { transferObjects } from "../../src/git/worker/objects/object-transfer.js";
import { git, UpstreamRepository } from "../support/repositories.js";
import { dieAt } from "./dying.js";
import { committed, Job, worktree } from "./salvage-support.js";
import { Bench, Site } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("one", { "a.txt": "a\n".repeat(5_000) });
  mirror = await bench.mirror(upstream.path);
  upstream.commit("two", { "b.txt": "b\n" });
  await bench.fetch(mirror, upstream.path);
  // a mirror may have loose objects, too
  const blob = join(bench.at("blob"));
  writeFileSync(blob, "loose\n");
  git(mirror, "hash-object", "-w", blob);
});
afterAll(() => bench.close());

const request = (to: string) => ({ from: join(mirror, "objects"), to, storage: "COPY", lasting: true }) as const;

function repository(name: string): string {
  const path = bench.at(name);
  mkdirSync(path, { recursive: true });
  git(path, "init", "-q", "--bare");
  return path;
}

/** By their names below `objects`, without those of unfinished ones. */
function files(objects: string): string[] {
  return readdirSync(objects, { recursive: true, encoding: "utf8" })
    .filter((name) => lstatSync(join(objects, name)).isFile() && !/(^|\/)tmp_/.test(name))
    .sort();
}

test("A5 a file has its name only when it is whole, whenever the worker is killed", () => {
  const path = repository("killed");
  const objects = join(path, "objects");
  let isDone = false;
  for (let step = 0; !isDone; step++) {
    rmSync(objects, { recursive: true });
    mkdirSync(join(objects, "pack"), { recursive: true });
    isDone = dieAt("objects/object-transfer", "transferObjects", request(objects), step) !== undefined;
    for (const name of files(objects)) {
      expect(readFileSync(join(objects, name)).equals(readFileSync(join(mirror, "objects", name))), name).toBe(true);
    }
    for (const name of files(objects).filter((one) => one.endsWith(".idx"))) {
      expect(existsSync(join(objects, name.replace(/idx$/, "pack"))), name).toBe(true);
    }
    transferObjects(request(objects));
    expect(readdirSync(join(objects, "pack")).sort()).toEqual(packFiles());
    expect(step).toBeLessThan(100);
  }
  git(path, "fsck", "--strict");
  expect(files(objects)).toEqual(files(join(mirror, "objects")));
});

function packFiles(): string[] {
  return readdirSync(join(mirror, "objects", "pack"))
    .filter((name) => name.startsWith("pack-"))
    .sort();
}

test("A5 half a pack that a killed worker left under its name is not taken for the pack", async () => {
  const salvages = bench.at("salvages", "torn.git");
  const first = await Job.start(bench, mirror, upstream.path, "", salvages);
  writeFileSync(join(first.path, "mine"), "mine\n");
  await first.saved();
  for (const name of packFiles().filter((one) => one.endsWith(".pack"))) {
    const pack = join(salvages, "objects", "pack", name);
    const whole = readFileSync(pack);
    rmSync(pack);
    writeFileSync(pack, whole);
    truncateSync(pack, Math.floor(whole.length / 2));
  }
  const second = await Job.start(bench, mirror, upstream.path, "", salvages);
  writeFileSync(join(second.path, "mine"), "also mine\n");
  const { ref } = await second.saved();
  git(salvages, "fsck", "--strict", "--no-dangling");
  expect(committed(second.fetched(ref), "salvaged")).toEqual(worktree(second.path));
});

test("A3 an index whose pack is still to come is not brought along", async () => {
  const fetching = bench.at("fetching.git");
  cpSync(mirror, fetching, { recursive: true });
  const index = packFiles().find((name) => name.endsWith(".idx")) as string;
  const early = `pack-${"a".repeat(40)}.idx`;
  cpSync(join(mirror, "objects", "pack", index), join(fetching, "objects", "pack", early));
  const site = new Site(bench, fetching, upstream.path, "early");
  await site.prepare();
  expect(readdirSync(join(site.path, ".git", "objects", "pack"))).not.toContain(early);
  expect(git(site.path, "fsck", "--strict", "--no-dangling")).toBe("");
});

test("G2 nothing is written through a symlink that stands in the way", () => {
  const path = repository("symlinked");
  const elsewhere = bench.at("elsewhere");
  mkdirSync(elsewhere);
  rmSync(join(path, "objects", "pack"), { recursive: true });
  symlinkSync(elsewhere, join(path, "objects", "pack"));
  expect(() => transferObjects(request(join(path, "objects")))).toThrow("EEXIST");
  expect(readdirSync(elsewhere)).toEqual([]);
});

test("A5 what is there with its size stays: it is not brought again", () => {
  const path = repository("again");
  const objects = join(path, "objects");
  transferObjects(request(objects));
  const inodes = () => files(objects).map((name) => `${name} ${lstatSync(join(objects, name)).ino}`);
  const before = inodes();
  const open = openSync(join(objects, "pack", "tmp_leasehold_1"), "w");
  closeSync(open);
  transferObjects(request(objects));
  expect(inodes()).toEqual(before);
  // of a process that lives
  expect(existsSync(join(objects, "pack", "tmp_leasehold_1"))).toBe(true);
});
