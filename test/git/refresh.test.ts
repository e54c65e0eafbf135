/** Bringing the refs of a workspace up to date that comes back to whoever parked it. */
import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test, vi } from "vitest";
import { git, UpstreamRepository } from "../support/repositories.js";
import { dieAt } from "./dying.js";
import { Bench, Site } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const bench = new Bench();
afterAll(() => bench.close());

let upstream: UpstreamRepository;
let mirror: string;
let made = 0;

beforeEach(async () => {
  made += 1;
  upstream = new UpstreamRepository(bench.at(`upstream-${made}`));
  upstream.commit("one", { "a.txt": "a\n" });
  mirror = await bench.mirror(upstream.path, `mirror-${made}`);
});

/** Comes back to a mirror that has gone on. */
async function parked(name: string, more = {}): Promise<Site> {
  const site = new Site(bench, mirror, upstream.path, `${name}${made}`);
  await site.prepare("", more);
  upstream.commit("two", { "b.txt": "b\n" });
  await bench.fetch(mirror, upstream.path);
  return site;
}

const packs = (path: string): string[] => readdirSync(join(path, "objects", "pack"));
const lockOf = (site: Site): string => join(site.path, ".git", "packed-refs.lock");

test("A3 object_storage COPY shares no file with the mirror, also where a binding comes back", async () => {
  const site = await parked("copied", { objectStorage: "COPY" });
  const request = { mirror, path: site.path, objectStorage: "COPY" } as const;
  expect(await bench.engine.refreshWorkspace(request)).toBe("ready");
  expect(packs(join(site.path, ".git")).length).toBe(packs(mirror).length);
  for (const name of packs(join(site.path, ".git"))) {
    expect(lstatSync(join(site.path, ".git", "objects", "pack", name)).nlink, name).toBe(1);
  }
  expect(git(site.path, "rev-parse", "origin/main")).toBe(upstream.id("main"));
});

test("A3 G12 a refresh that is killed at any moment leaves nothing that keeps the next one, or git, from writing refs", async () => {
  const site = await parked("killed");
  const request = { mirror, path: site.path, objectStorage: "COPY" } as const;
  let locks = 0;
  let isDone = false;
  for (let step = 0; !isDone; step++) {
    const title = String(step);
    isDone = dieAt("workspace/refresh", "refreshWorkspace", request, step) !== undefined;
    if (existsSync(lockOf(site))) locks += 1;
    expect(git(site.path, "fsck", "--strict", "--no-dangling"), title).toBe("");
    // git's own lock would be in the way for good
    expect(await bench.engine.refreshWorkspace(request), title).toBe("ready");
    expect(git(site.path, "rev-parse", "origin/main"), title).toBe(upstream.id("main"));
    git(site.path, "pack-refs", "--all");
    expect(readdirSync(join(site.path, ".git")).filter((name) => /lock|leasehold/.test(name))).toEqual([]);
    expect(step).toBeLessThan(100);
    upstream.commit(`step ${step}`, { "c.txt": title });
    await bench.fetch(mirror, upstream.path);
  }
  expect(locks).toBeGreaterThan(1);
});

test("A3 a lock of the holder's git is respected, and its refs stay as they are", async () => {
  const site = await parked("locked");
  const before = readFileSync(join(site.path, ".git", "packed-refs"), "utf8");
  writeFileSync(lockOf(site), "");
  const request = { mirror, path: site.path, objectStorage: "AUTO" } as const;
  expect(await bench.engine.refreshWorkspace(request)).toBe("ready");
  expect(readFileSync(join(site.path, ".git", "packed-refs"), "utf8")).toBe(before);
  expect(readFileSync(lockOf(site), "utf8")).toBe("");
});
