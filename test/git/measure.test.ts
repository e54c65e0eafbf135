/** Bytes of directories, as `du` counts them. */
import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UpstreamRepository } from "../support/repositories.js";
import { Bench, Site } from "./support.js";

let bench: Bench;

beforeAll(() => {
  bench = new Bench();
});
afterAll(() => bench.close());

/** `du` counts a file with several names once over all of its arguments, in their order. */
function du(...paths: readonly string[]): number[] {
  const text = execFileSync("du", ["--summarize", "--block-size=1", ...paths], { encoding: "utf8" });
  return text
    .trim()
    .split("\n")
    .map((line) => Number(line.split("\t")[0]));
}

const own = { shared: [], holders: false };

test("G7 a directory takes the blocks of what is in it, once for each file, and follows no symlink", async () => {
  const path = bench.at("place");
  mkdirSync(join(path, "deep", "er"), { recursive: true });
  writeFileSync(join(path, "deep", "er", "large"), Buffer.alloc(300_000, 1));
  writeFileSync(Buffer.concat([Buffer.from(`${path}/odd-`), Buffer.from([0xff, 0x0a])]), "odd");
  linkSync(join(path, "deep", "er", "large"), join(path, "again"));
  symlinkSync("/usr", join(path, "elsewhere"));
  const bytes = await bench.engine.measure({ path, ...own });
  expect(bytes).toBe(du(path)[0]);
  expect(bytes).toBeGreaterThan(300_000);
  expect(bytes).toBeLessThan(600_000);
  expect(await bench.engine.measure({ path, ...own, except: ["deep/er", "again"] })).toBeLessThan(300_000);
});

test("G7 what a workspace shares with its mirror counts at the mirror, and all of it together is what is on the disk", async () => {
  const upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("one", { a: Buffer.alloc(200_000, 7), "src/b": "b\n".repeat(5_000) });
  const mirror = await bench.mirror(upstream.path);
  const sites = ["w1", "w2"].map((name) => new Site(bench, mirror, upstream.path, name));
  for (const site of sites) await site.prepare("", { objectStorage: "LINK" });
  const measure = (path: string, ...shared: string[]) => bench.engine.measure({ path, shared, holders: true });
  const sizes = [await measure(mirror), ...(await Promise.all(sites.map(({ path }) => measure(path, mirror))))];
  expect(sizes).toEqual(du(mirror, ...sites.map(({ path }) => path)));
  expect(sizes[1]).toBeGreaterThan(200_000);
  expect(await measure(sites[0]?.path ?? "")).toBeGreaterThan(sizes[1] ?? 0);
});

test("G7 a place that is not there takes nothing, and one that vanishes meanwhile is no failure", async () => {
  expect(await bench.engine.measure({ path: bench.at("nowhere"), ...own })).toBe(0);
});
