/** The two-uid layout: the server is not led astray by a process of the holders' user that still runs. As root only. */
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
  it("G4 50 cleanings and removals touch nothing outside", async () => {
    const { site, target } = await scene.workspace();
    const places = scene.outside("race");
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
        for (const to of [secret, open]) {
          swap("src", to); swap("src/deep", to); swap("junk/a", to); swap(".git", to); swap(".git/objects", to);
          attempt(() => fs.mkdirSync("junk/a/deep", { recursive: true }));
          for (const name of ["main.txt", "other.txt", "mine", "deep/main.txt"]) attempt(() => fs.writeFileSync("junk/a/" + name, "x"));
        }
        if (round % 20 === 0) fs.appendFileSync(own + "/progress", "x");
      }`;
    let cleaned = 0;
    for (let round = 0; round < 50; round++) {
      const pid = processes.run(process.execPath, ["-e", script, ...places], { ...holder, cwd: site.path });
      await whenGrown(progress, 1);
      // in place, as where the process has not been found; what fails is made from scratch, as the service would
      const isClean = await scene.clean(site, target).then(
        () => true,
        () => false,
      );
      if (isClean) cleaned += 1;
      process.kill(-pid, "SIGKILL");
      await scene.clean(site, target, { fromScratch: true });
      expect(await scene.verify(site, target)).toEqual({ kind: "pristine", files: 5 });
    }
    process.stdout.write(`cleaned in place beside a swapping process: ${cleaned} of 50\n`);
    expect(places.slice(1).flatMap(fingerprint)).toEqual(canaries);
  }, 120_000);
});
