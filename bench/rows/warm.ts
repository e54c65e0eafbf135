/**
 * Owns the row `warm`: Acquire of an idle workspace that stands at the wanted commit, when no fetch is due.
 *
 * It must not depend on the repository's size: the peer of the big repository is the small one.
 */
import { WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { expectSource, type Leaseholder } from "../harness/leaseholder.js";
import { rounds } from "../harness/rounds.js";
import type { Row } from "../harness/row.js";
import { summarise, timed } from "../harness/samples.js";
import { Steps } from "../harness/steps.js";

const seconds = 90;

interface Series {
  readonly client: number[];
  readonly server: number[];
  readonly steps: Steps;
}

export const warm: Row = {
  name: "warm",
  title: "Acquire of an idle workspace at the wanted commit, no fetch due",
  async run(bench) {
    await bench.big();
    await bench.small();
    const leaseholder = await bench.leaseholder();
    const { bigFiles, smallFiles, quickRounds } = bench.sizes;
    const big: Series = { client: [], server: [], steps: new Steps() };
    const small: Series = { client: [], server: [], steps: new Steps() };
    for (const repository of ["big", "small"]) await leaseholder.release(await leaseholder.acquire(repository, true));
    bench.say(`acquiring up to ${quickRounds} times each`);
    for (const _ of rounds(quickRounds, seconds)) {
      await acquireOnce(leaseholder, "big", big);
      await acquireOnce(leaseholder, "small", small);
    }
    bench.say(`${big.steps}`);
    const inSmall = `${smallFiles} files`;
    return [
      {
        what: `server's elapsed, ${bigFiles} files`,
        unit: "ms",
        ours: summarise(big.server),
        peer: { name: inSmall, summary: summarise(small.server) },
        target: { of: "ratio", limit: 1.3, is: "at most" },
      },
      { ...judged("median", 10), what: "the same: median", ours: summarise(big.server) },
      { ...judged("p99", 50), what: "the same: p99", ours: summarise(big.server) },
      {
        what: `as the client sees it, ${bigFiles} files`,
        unit: "ms",
        ours: summarise(big.client),
        peer: { name: inSmall, summary: summarise(small.client) },
      },
    ];
  },
};

function judged(of: "median" | "p99", limit: number) {
  return { unit: "ms", target: { of, limit, is: "at most" } } as const;
}

async function acquireOnce(leaseholder: Leaseholder, repository: string, series: Series): Promise<void> {
  const { ms, result } = await timed(() => leaseholder.acquire(repository));
  expectSource(result, WorkspaceSource.WARM);
  series.client.push(ms);
  series.server.push(result.serverMs);
  series.steps.add(result);
  await leaseholder.release(result);
}
