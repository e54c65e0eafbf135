/** Owns the row `cold`: the first workspace of a repository whose mirror exists, against `git clone --local` of that mirror. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { git } from "../harness/git-command.js";
import { expectSource } from "../harness/leaseholder.js";
import { rounds } from "../harness/rounds.js";
import type { Row } from "../harness/row.js";
import { summarise, timed, timeOf } from "../harness/samples.js";

const seconds = 60;

export const cold: Row = {
  name: "cold",
  title: "Acquire that makes the first workspace",
  async run(bench) {
    const upstream = await bench.upstream("big", bench.sizes.bigFiles);
    // of its own, so that no other row's workspace is idle; and a copy, since one upstream is one repository
    const copy = join(bench.directory, "cold.git");
    await git(bench.directory, ["clone", "--quiet", "--bare", "--local", upstream.path, copy]);
    await bench.register("cold", copy);
    const leaseholder = await bench.leaseholder();
    const mirror = (await bench.server()).mirror("cold");
    const fresh = join(bench.directory, "fresh");
    for (const made of [copy, fresh]) bench.onRowEnd(() => rm(made, { recursive: true, force: true }));
    const ours: number[] = [];
    const peers: number[] = [];
    for (const round of rounds(bench.sizes.slowRounds, seconds)) {
      bench.say(`round ${round + 1}`);
      const { ms, result } = await timed(() => leaseholder.acquire("cold"));
      expectSource(result, WorkspaceSource.CREATED);
      ours.push(ms);
      await leaseholder.discard(result);
      peers.push(await timeOf(() => git(bench.directory, ["clone", "--quiet", "--local", mirror, fresh])));
      await rm(fresh, { recursive: true });
    }
    return [
      {
        what: `first workspace, ${upstream.files} files`,
        unit: "ms",
        ours: summarise(ours),
        peer: { name: "git clone --local", summary: summarise(peers) },
        target: { of: "ratio", limit: 1, is: "at most" },
      },
    ];
  },
};
