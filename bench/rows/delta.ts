/**
 * Owns the row `delta`: Acquire when 100 files of the big repository have changed upstream since.
 *
 * The peers do what a script would do without the service: bring a standing clone up to date, or clone anew.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { git } from "../harness/git-command.js";
import { expectSource } from "../harness/leaseholder.js";
import { rounds } from "../harness/rounds.js";
import type { Row } from "../harness/row.js";
import { summarise, timed, timeOf } from "../harness/samples.js";
import { Steps } from "../harness/steps.js";

const changed = 100;
const seconds = 80;

export const delta: Row = {
  name: "delta",
  title: `Acquire after ${changed} files have changed upstream`,
  async run(bench) {
    const upstream = await bench.big();
    const leaseholder = await bench.leaseholder();
    const standing = join(bench.directory, "standing");
    const fresh = join(bench.directory, "fresh");
    for (const made of [standing, fresh]) bench.onRowEnd(() => rm(made, { recursive: true, force: true }));
    await git(bench.directory, ["clone", "--quiet", upstream.path, standing]);
    await leaseholder.release(await leaseholder.acquire("big", true));
    const ours: number[] = [];
    const moved: number[] = [];
    const cloned: number[] = [];
    const steps = new Steps();
    for (const round of rounds(bench.sizes.slowRounds, seconds)) {
      bench.say(`round ${round + 1}`);
      await upstream.change(changed);
      const { ms, result } = await timed(() => leaseholder.acquire("big", true));
      expectSource(result, WorkspaceSource.REUSED);
      ours.push(ms);
      steps.add(result);
      await leaseholder.release(result);
      moved.push(
        await timeOf(async () => {
          await git(standing, ["fetch", "--quiet", "origin"]);
          await git(standing, ["checkout", "--quiet", "-f", "--detach", "origin/main"]);
          await git(standing, ["clean", "-ffdxq"]);
        }),
      );
      if (round > 2) continue;
      cloned.push(await timeOf(() => git(bench.directory, ["clone", "--quiet", "--local", upstream.path, fresh])));
      await rm(fresh, { recursive: true });
    }
    bench.say(`${steps}`);
    const what = `Acquire, ${changed} of ${upstream.files} files changed`;
    return [
      {
        what,
        unit: "ms",
        ours: summarise(ours),
        peer: { name: "git fetch, checkout -f, clean", summary: summarise(moved) },
        target: { of: "ratio", limit: 0.2, is: "at most" },
      },
      {
        what,
        unit: "ms",
        ours: summarise(ours),
        peer: { name: "git clone --local", summary: summarise(cloned) },
        target: { of: "ratio", limit: 0.05, is: "at most" },
      },
    ];
  },
};
