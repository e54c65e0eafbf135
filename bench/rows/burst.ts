/**
 * Owns the row `burst`: 64 Acquires at once on one repository, against 8 at once, all of them asking for what is new
 * upstream, all workspaces idle. It shows what is done for each and what is shared.
 */
import { CountedUpstream } from "../harness/counted-upstream.js";
import type { Leaseholder } from "../harness/leaseholder.js";
import { rounds } from "../harness/rounds.js";
import type { Row } from "../harness/row.js";
import { summarise, timed } from "../harness/samples.js";

const many = 64;
const few = 8;
const seconds = 50;

export const burst: Row = {
  name: "burst",
  title: `${many} Acquires at once on one repository`,
  async run(bench) {
    const { path } = await bench.upstream("small", bench.sizes.smallFiles);
    const upstream = await CountedUpstream.start(path);
    bench.onRowEnd(() => upstream.stop());
    await bench.register("burst", upstream.url, many);
    const leaseholder = await bench.leaseholder();
    const series = { many: { ms: [] as number[], fetches: [] as number[] }, few: [] as number[] };
    for (const round of rounds(bench.sizes.slowRounds, seconds)) {
      bench.say(`round ${round + 1}`);
      series.few.push(await acquireAtOnce(leaseholder, few));
      const before = upstream.fetches;
      series.many.ms.push(await acquireAtOnce(leaseholder, many));
      series.many.fetches.push(upstream.fetches - before);
    }
    return [
      {
        what: `${many} at once, until the last answer`,
        unit: "ms",
        ours: summarise(series.many.ms),
        peer: { name: `${few} at once`, summary: summarise(series.few) },
        target: { of: "ratio", limit: 4, is: "at most" },
      },
      {
        what: `fetches that the upstream saw for ${many}`,
        unit: "",
        ours: summarise(series.many.fetches),
        target: { of: "max", limit: 2, is: "at most" },
      },
    ];
  },
};

async function acquireAtOnce(leaseholder: Leaseholder, count: number): Promise<number> {
  const { ms, result } = await timed(() =>
    Promise.all(Array.from({ length: count }, () => leaseholder.acquire("burst", true))),
  );
  if (new Set(result.map((held) => held.path)).size !== count) throw new Error("two leases have one workspace");
  await Promise.all(result.map((held) => leaseholder.release(held)));
  return ms;
}
