/** Owns the row `release`: from Release until the workspace is clean again, after a build and some edits. */
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { git } from "../harness/git-command.js";
import { rounds } from "../harness/rounds.js";
import type { Row } from "../harness/row.js";
import { summarise, timeOf } from "../harness/samples.js";
import type { Upstream } from "../harness/upstream.js";

const dirtyFiles = 200;
const ignoredFiles = 2_000;
const seconds = 60;

export const release: Row = {
  name: "release",
  title: `Release until clean: ${dirtyFiles} dirty and ${ignoredFiles} ignored files`,
  async run(bench) {
    const upstream = await bench.big();
    const leaseholder = await bench.leaseholder();
    const standing = join(bench.directory, "standing");
    bench.onRowEnd(() => rm(standing, { recursive: true, force: true }));
    await git(bench.directory, ["clone", "--quiet", upstream.path, standing]);
    await leaseholder.release(await leaseholder.acquire("big", true));
    const ours: number[] = [];
    const peers: number[] = [];
    for (const round of rounds(bench.sizes.slowRounds, seconds)) {
      bench.say(`round ${round + 1}`);
      const held = await leaseholder.acquire("big");
      makeDirty(held.path, upstream, round);
      ours.push(await timeOf(() => leaseholder.release(held)));
      makeDirty(standing, upstream, round);
      peers.push(
        await timeOf(async () => {
          await git(standing, ["reset", "--quiet", "--hard"]);
          await git(standing, ["clean", "-ffdxq"]);
        }),
      );
    }
    return [
      {
        what: `Release until clean, ${upstream.files} files`,
        unit: "ms",
        ours: summarise(ours),
        peer: { name: "git reset --hard, clean -ffdx", summary: summarise(peers) },
        target: { of: "ratio", limit: 1, is: "at most" },
      },
    ];
  },
};

function makeDirty(directory: string, upstream: Upstream, round: number): void {
  for (const path of upstream.paths(dirtyFiles, round)) appendFileSync(join(directory, path), "// edited\n");
  for (let i = 0; i < ignoredFiles; i++) {
    const parent = join(directory, "build", `d${i % 40}`);
    if (i < 40) mkdirSync(parent, { recursive: true });
    writeFileSync(join(parent, `object${i}.o`), "compiled\n");
  }
}
