/**
 * Owns the row `parked`: Acquire of the workspace that was parked for a binding, with 200 files changed in it.
 *
 * The peer is what somebody does who keeps a directory for each job: `git fetch` there, and go on.
 */
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { git } from "../harness/git-command.js";
import { expectSource } from "../harness/leaseholder.js";
import { rounds } from "../harness/rounds.js";
import type { Row } from "../harness/row.js";
import { summarise, timed, timeOf } from "../harness/samples.js";
import { Steps } from "../harness/steps.js";

const changed = 200;
const seconds = 40;
const binding = "bench";

export const parked: Row = {
  name: "parked",
  title: "Acquire of the workspace that was parked for a binding",
  async run(bench) {
    const upstream = await bench.big();
    const leaseholder = await bench.leaseholder();
    let held = await leaseholder.acquireBound("big", binding, true);
    const files = (await git(held.path, ["ls-files", "-z"])).split("\0").slice(0, changed);
    for (const file of files) await appendFile(join(held.path, file), "mine\n");
    const known: number[] = [];
    const asked: number[] = [];
    const fetched: number[] = [];
    const steps = new Steps();
    for (const round of rounds(bench.sizes.slowRounds, seconds)) {
      bench.say(`round ${round + 1}`);
      for (const fetch of [false, true]) {
        await leaseholder.park(held);
        const { ms, result } = await timed(() => leaseholder.acquireBound("big", binding, fetch));
        expectSource(result, WorkspaceSource.BOUND);
        (fetch ? asked : known).push(ms);
        steps.add(result);
        held = result;
      }
      fetched.push(await timeOf(() => git(held.path, ["fetch", "--quiet", "origin"])));
    }
    const status = await git(held.path, ["status", "--porcelain", "--untracked-files=no"]);
    if (status.split("\n").filter(Boolean).length !== files.length)
      throw new Error("what was parked did not come back");
    await git(held.path, ["checkout", "--quiet", "-f"]);
    await leaseholder.release(held);
    bench.say(`${steps}`);
    const peer = { name: "git fetch in a directory of one's own", summary: summarise(fetched) };
    return [
      { what: `parked with ${changed} changed files, no fetch due`, unit: "ms", ours: summarise(known), peer },
      { what: `the same, the upstream of ${upstream.files} files is asked`, unit: "ms", ours: summarise(asked), peer },
    ];
  },
};
