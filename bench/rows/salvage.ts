/**
 * Owns the row `salvage`: what it costs that work which exists nowhere else is saved when a lease ends.
 *
 * The first peer is the same Release without such work; the second saves the same work by hand.
 */
import { appendFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { git } from "../harness/git-command.js";
import { rounds } from "../harness/rounds.js";
import type { Row } from "../harness/row.js";
import { summarise, timeOf } from "../harness/samples.js";
import type { Upstream } from "../harness/upstream.js";

const editedFiles = 200;
const newFiles = 20;
const seconds = 60;

export const salvage: Row = {
  name: "salvage",
  title: `Release with work to save: ${editedFiles} edited and ${newFiles} new files`,
  async run(bench) {
    const upstream = await bench.big();
    const leaseholder = await bench.leaseholder();
    const standing = join(bench.directory, "standing");
    const shelf = join(bench.directory, "shelf.git");
    for (const made of [standing, shelf]) bench.onRowEnd(() => rm(made, { recursive: true, force: true }));
    await git(bench.directory, ["clone", "--quiet", upstream.path, standing]);
    // as the service does, which keeps a salvage apart from the mirror and whole in itself
    await git(bench.directory, ["clone", "--quiet", "--bare", "--local", upstream.path, shelf]);
    await leaseholder.release(await leaseholder.acquire("big", true));
    const withWork: number[] = [];
    const without: number[] = [];
    const stashed: number[] = [];
    for (const round of rounds(bench.sizes.slowRounds, seconds)) {
      bench.say(`round ${round + 1}`);
      const worked = await leaseholder.acquire("big");
      work(worked.path, upstream, round);
      withWork.push(await timeOf(() => leaseholder.release(worked)));
      const idled = await leaseholder.acquire("big");
      without.push(await timeOf(() => leaseholder.release(idled)));
      work(standing, upstream, round);
      stashed.push(
        await timeOf(async () => {
          await git(standing, ["stash", "push", "--quiet", "--include-untracked"]);
          await git(standing, ["push", "--quiet", shelf, `stash@{0}:refs/heads/stash-${round}`]);
        }),
      );
    }
    const what = `Release until clean, ${upstream.files} files, with work`;
    const ours = summarise(withWork);
    return [
      { what, unit: "ms", ours, peer: { name: "the same without work", summary: summarise(without) } },
      { what, unit: "ms", ours, peer: { name: "git stash -u, git push", summary: summarise(stashed) } },
    ];
  },
};

/** Other content each round, so that nothing was saved before. */
function work(directory: string, upstream: Upstream, round: number): void {
  const text = `round ${round} in ${directory}\n`;
  for (const path of upstream.paths(editedFiles, round)) appendFileSync(join(directory, path), text);
  for (let i = 0; i < newFiles; i++) writeFileSync(join(directory, `new-${i}.txt`), `${i} ${text}`);
}
