/**
 * Owns the row `crowded`: what an Acquire costs in the database when there are many workspaces, by the store's own
 * statements, against the same with few. All of them are one repository's: half idle, half leased.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { connectPool } from "../../src/postgres/client.js";
import { startEmbeddedPostgres } from "../../src/postgres/embedded/embedded-postgres.js";
import { CrowdedStore } from "../harness/crowded-store.js";
import { rounds } from "../harness/rounds.js";
import type { Row } from "../harness/row.js";
import { summarise } from "../harness/samples.js";

const most = 300;
const seconds = 50;

export const crowded: Row = {
  name: "crowded",
  title: "Acquire's statements in a database with many workspaces",
  async run(bench) {
    const { crowd, few } = bench.sizes;
    bench.say("starting a Postgres");
    const postgres = await startEmbeddedPostgres({ dataDir: join(bench.directory, "crowded"), log: () => {} });
    const stores: CrowdedStore[] = [];
    bench.onRowEnd(async () => {
      for (const store of stores) await store.close();
      await postgres.stop();
    });
    const admin = connectPool(postgres.connection, { max: 1, name: "bench" });
    for (const workspaces of [crowd, few]) {
      const database = `workspaces_${workspaces}`;
      await admin.unsafe(`create database ${database}`);
      bench.say(`${database}: inserting`);
      stores.push(await CrowdedStore.open({ ...postgres.connection, database }, workspaces));
    }
    await admin.end();
    const [many, less] = stores as [CrowdedStore, CrowdedStore];
    const samples = { grant: [[], []] as number[][], moved: [[], []] as number[][], whole: [[], []] as number[][] };
    bench.say(`up to ${most} rounds`);
    for (const _ of rounds(most, seconds)) {
      for (const [which, store] of [many, less].entries()) {
        const warm = await store.acquire(store.known);
        samples.grant[which]?.push(warm.grantMs);
        samples.whole[which]?.push(warm.wholeMs);
        samples.moved[which]?.push((await store.acquire(randomBytes(20).toString("hex"))).grantMs);
      }
    }
    const figure = (what: string, [ours, peer]: number[][]) =>
      ({
        what,
        unit: "ms",
        ours: summarise(ours ?? []),
        peer: { name: `${few} workspaces`, summary: summarise(peer ?? []) },
      }) as const;
    const target = { of: "ratio", limit: 1.2, is: "at most" } as const;
    return [
      { ...figure(`grant, one stands at the commit, ${crowd} workspaces`, samples.grant), target },
      { ...figure("grant, none stands at the commit", samples.moved), target },
      figure("open, grant and activate", samples.whole),
    ];
  },
};
