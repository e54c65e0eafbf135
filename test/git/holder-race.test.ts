/** The two-uid layout: the server is not led astray by a process of the holders' user that still runs. As root only. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { useProcesses, whenGrown } from "../support/processes.js";
import { fingerprint, holder, isRoot, Scene } from "./holder-support.js";

if (!isRoot) process.stdout.write("test/git/holder-race.test.ts: skipped, it needs root to have a second user\n");
const processes = useProcesses();
let scene: Scene;

beforeAll(async () => {
  if (isRoot) scene = await new Scene().open();
});
afterAll(async () => {
  if (isRoot) await scene.bench.close();
});

describe.skipIf(!isRoot)("beside a process that swaps directories and symlinks", () => {
  it("50 cleanings and removals touch nothing outside", async () => {
    const { site, target } = await scene.workspace();
    const places = scene.outside("race");
    for (const place of places) for (let name = 0; name < 100; name++) writeFileSync(join(place, `s${name}`), "canary");
    const canaries = places.slice(1).flatMap(fingerprint);
    const progress = `${places[0]}/progress`;
    const script = `
      const fs = require("fs"), [own, secret, open] = process.argv.slice(1);
      const attempt = (work) => { try { work(); } catch {} };
      const swap = (name, to) => {
        attempt(() => fs.renameSync(name, name + ".real"));
        attempt(() => fs.symlinkSync(to, name));
        attempt(() => fs.rmSync(name));
        attempt(() => fs.renameSync(name + ".real", name));
      };
      for (let round = 0; ; round++) {
        const to = round % 2 ? secret : open;
        // names that are there as well where the symlink leads
        for (let name = 0; name < 10; name++) attempt(() => fs.writeFileSync("src/s" + ((round * 10 + name) % 100), "x"));
        for (let times = 0; times < 5; times++) swap("src", to);
        if (round % 10 === 0) {
          for (const name of ["src/deep", "junk/a"]) swap(name, to);
          if (round % 200 === 0) for (const name of [".git", ".git/objects"]) swap(name, to);
          attempt(() => fs.mkdirSync("junk/a/deep", { recursive: true }));
          for (const name of ["main.txt", "mine", "deep/main.txt"]) attempt(() => fs.writeFileSync("junk/a/" + name, "x"));
          fs.appendFileSync(own + "/progress", "x");
        }
      }`;
    let inPlace = 0;
    for (let cleanings = 0; cleanings < 50; ) {
      const pid = processes.run(process.execPath, ["-e", script, ...places], { ...holder, cwd: site.path });
      // in place, as where the process has not been found: it comes along into the directory's next name
      for (let follows = true; follows && cleanings < 50; cleanings++) {
        await whenGrown(progress, 2);
        follows = await scene.clean(site, target).then(
          (outcome) => outcome.kind === "clean" && !outcome.recreated,
          () => false,
        );
        if (follows) inPlace += 1;
      }
      process.kill(-pid, "SIGKILL");
      await scene.clean(site, target, { fromScratch: true });
      expect(await scene.verify(site, target)).toEqual({ kind: "pristine", files: 5 });
    }
    process.stdout.write(`cleaned in place beside a swapping process: ${inPlace} of 50\n`);
    expect(places.slice(1).flatMap(fingerprint)).toEqual(canaries);
  }, 300_000);
});
