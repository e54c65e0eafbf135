/** Packs leave the repository of salvages while salvages are made: what one brings at any moment stays. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, expect, test } from "vitest";
import { git, UpstreamRepository } from "../support/repositories.js";
import { Job } from "./salvage-support.js";
import { Bench, workerEntry } from "./support.js";

const bench = new Bench();
afterAll(() => bench.close());

const packsOf = (salvages: string): string[] => readdirSync(join(salvages, "objects", "pack"));

test("G7 A5 a salvage that is made while packs are chosen stays whole, whenever it comes", async () => {
  const upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", { "a.txt": "aaa\n" });
  const mirror = await bench.mirror(upstream.path);
  const salvages = bench.at("salvages", "r.git");
  const save = async () => {
    const job = await Job.start(bench, mirror, upstream.path, "", salvages);
    writeFileSync(join(job.path, "mine.bin"), randomBytes(1_000));
    return (await job.saved()).ref;
  };
  const gone = await save();
  await save();
  await bench.engine.discardSalvage(salvages, gone);
  const before = bench.at("before.git");
  cpSync(salvages, before, { recursive: true });
  const late = await save();
  const news = packsOf(salvages).filter((name) => !packsOf(before).includes(name));
  expect(news).toHaveLength(2);
  const script = bench.at("race.mjs");
  writeFileSync(
    script,
    `import fs from "node:fs";
    import { syncBuiltinESMExports } from "node:module";
    const { closeSync, cpSync } = fs;
    let left = Infinity;
    let arrive = () => {};
    fs.closeSync = (file) => {
      closeSync(file);
      if (left-- === 0) arrive();
    };
    syncBuiltinESMExports();
    const worker = ${JSON.stringify(pathToFileURL(workerEntry).href)};
    const { planPacks, dropPacks } = await import(new URL("./salvage/salvage-packs.js", worker));
    const [before, after, places, mirror, late] = ${JSON.stringify([before, salvages, bench.at("races"), mirror, late])};
    const made = [];
    for (let step = 0; left < 0 || step === 0; step++) {
      const salvages = places + "/" + step + ".git";
      cpSync(before, salvages, { recursive: true });
      arrive = () => {
        for (const name of [${news.map((name) => JSON.stringify(`objects/pack/${name}`)).join(", ")}, late]) {
          cpSync(after + "/" + name, salvages + "/" + name);
        }
        made.push(salvages);
      };
      left = step;
      const spare = planPacks({ salvages, mirror, modules: places + "/none" });
      if (spare) dropPacks({ salvages, spare });
    }
    console.log(JSON.stringify(made));`,
  );
  const made: string[] = JSON.parse(execFileSync(process.execPath, [script], { encoding: "utf8" }));
  expect(made.length).toBeGreaterThan(3);
  for (const path of made) {
    expect(git(path, "fsck", "--strict", "--no-dangling"), path).toBe("");
    expect(git(path, "ls-tree", "--name-only", late), path).toContain("mine.bin");
    rmSync(path, { recursive: true });
  }
}, 60_000);
