/**
 * Owns the row `sweep`: a sweep of 10,000 open sessions, the database and the throttle of forges apart. Ten sessions share a
 * subject. The code is the product's; forges answer at once, but for the last figure, which is of a server on loopback.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { HttpForges } from "../../src/forge/http-forges.js";
import { startEmbeddedPostgres } from "../../src/postgres/embedded/embedded-postgres.js";
import type { Bench } from "../harness/bench.js";
import type { Row } from "../harness/row.js";
import { summarise } from "../harness/samples.js";
import { answering, SessionCrowd } from "../harness/session-crowd.js";

const sessions = 10_000;
const turns = 3;
/** Of the figure with the throttle. */
const throttled = 200;
const openIssue = JSON.stringify({ state: "open" });

export const sweep: Row = {
  name: "sweep",
  title: "a sweep of 10,000 sessions: the database, and the throttle of forges",
  async run(bench) {
    bench.say("starting a Postgres");
    const postgres = await startEmbeddedPostgres({ dataDir: join(bench.directory, "sweep"), log: () => {} });
    const crowd = await SessionCrowd.open(postgres.connection);
    bench.onRowEnd(async () => {
      await crowd.close();
      await postgres.stop();
    });
    const judged: number[] = [];
    const dropped: number[] = [];
    for (let turn = 1; turn <= turns; turn++) {
      bench.say(`turn ${turn} of ${turns}: ${sessions} sessions`);
      await crowd.fill("https://git.example.com", sessions);
      const stays = await crowd.sweep(answering("OPEN"));
      const goes = await crowd.sweep(answering("CLOSED"));
      if (stays.report.counts.active !== sessions || goes.report.counts.sessions !== sessions) {
        throw new Error(`not all were swept: ${stays.report.summary}; ${goes.report.summary}`);
      }
      judged.push(stays.ms);
      dropped.push(goes.ms);
    }
    const perSubject = await throttledBy(bench, crowd);
    return [
      {
        what: `${sessions} sessions about ${sessions / 10} open issues: the database`,
        unit: "ms",
        ours: summarise(judged),
      },
      { what: `the same, closed: all are dropped`, unit: "ms", ours: summarise(dropped) },
      {
        ...{
          what: "for each subject that a forge on loopback is asked for",
          unit: "ms",
          ours: summarise([perSubject]),
        },
        peer: { name: "at least apart", summary: summarise([200]) },
        target: { of: "ratio", limit: 1.2, is: "at most" },
      },
    ];
  },
};

/** What a subject takes when a real forge is asked, in ms. */
async function throttledBy(bench: Bench, crowd: SessionCrowd): Promise<number> {
  const forge = createServer((_request, response) => {
    response.writeHead(200, { "content-type": "application/json" }).end(openIssue);
  });
  await new Promise<void>((resolve) => forge.listen(0, "127.0.0.1", resolve));
  bench.onRowEnd(() => void forge.close());
  const url = `http://127.0.0.1:${(forge.address() as AddressInfo).port}`;
  await crowd.fill(url, throttled);
  bench.say(`${throttled} sessions, and a forge that is asked`);
  const { ms } = await crowd.sweep(new HttpForges([{ name: "bench", kind: "gitea", url, apiUrl: `${url}/api/v1` }]));
  forge.closeAllConnections();
  return ms / Math.ceil(throttled / 10);
}
