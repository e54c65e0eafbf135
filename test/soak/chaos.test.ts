/**
 * Minutes of chaos: two servers on one data directory and one on another host, all on one database, under traffic, killed,
 * drained, frozen and cut off at random moments. `LEASEHOLD_SOAK_SECONDS` says for how long, `LEASEHOLD_SOAK_SEED` repeats
 * a run's choices.
 */
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Traffic } from "../support/holders.js";
import { expectHonoured, expectSoundDisk, expectSoundStore, settled } from "../support/invariants.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { Upstream } from "../support/upstream.js";

const seconds = Number(process.env.LEASEHOLD_SOAK_SECONDS ?? 180);
const seed = Number(process.env.LEASEHOLD_SOAK_SEED ?? Date.now() % 100_000);

const servers = useServers();

/** The same numbers for the same seed (mulberry32). */
function randomNumbers(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

it(
  `G12 G10 B2 chaos for ${seconds} s, seed ${seed}: nothing overlaps, nothing is lost, nothing is left`,
  async () => {
    const random = randomNumbers(seed);
    const root = await servers.directory();
    const databaseUrl = await servers.database();
    const sql = servers.sql(databaseUrl);
    const first = await servers.start({ databaseUrl, host: "east" });
    const second = await servers.start({ databaseUrl, host: "east", dataDir: first.dataDir });
    const other = await servers.start({ databaseUrl, host: "west" });
    const all = [first, second, other];
    const { url } = await Upstream.make(root, "chaos");
    const repository = { name: "chaos", url, maxWorkspaces: 5, minIdle: 1 };
    await first.client.admin.registerRepository({ repository });
    const clients = all.map(({ client }) => client);
    const traffics = ["east", "west"].map(
      (host) => new Traffic({ repository: "chaos", holders: 7, clients, host, heartbeats: 5 }),
    );
    const pick = (): ServerProcess => all[Math.floor(random() * all.length)] as ServerProcess;
    const restart = async (server: ServerProcess, end: () => Promise<void>) => {
      await end();
      await sleep(random() * 1_500);
      await server.start();
    };
    const deeds: readonly [string, () => Promise<unknown>][] = [
      ["kill", () => ((server) => restart(server, () => server.kill9()))(pick())],
      ["kill", () => ((server) => restart(server, () => server.kill9()))(pick())],
      ["drain", () => ((server) => restart(server, () => server.stop()))(pick())],
      ["kill all", () => Promise.all(all.map((server) => restart(server, () => server.kill9())))],
      [
        "freeze",
        async () => {
          const server = pick();
          server.signal("SIGSTOP");
          await sleep(random() * 7_000);
          server.signal("SIGCONT");
        },
      ],
      [
        "cut off",
        () => sql`select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and application_name like 'leasehold%' and random() < 0.7`,
      ],
      [
        "delete an idle directory",
        async () => {
          const [idle] = await sql<{ path: string; id: string }[]>`
          select id, path from workspaces where state = 'IDLE' order by random() limit 1`;
          if (idle) await rm(idle.path, { recursive: true, force: true });
        },
      ],
    ];
    const end = performance.now() + seconds * 1_000;
    while (performance.now() < end) {
      const [name, deed] = deeds[Math.floor(random() * deeds.length)] as (typeof deeds)[number];
      process.stdout.write(`${new Date().toISOString()} ${name}\n`);
      await deed();
      await sleep(random() * 3_000);
      for (const traffic of traffics) await traffic.progress(Math.ceil(random() * 4), 120_000);
    }
    for (const traffic of traffics) await traffic.stop();
    for (const { dataDir, host } of [first, other]) {
      await settled(sql, dataDir, 120_000);
      await expectSoundStore(sql);
      await expectSoundDisk(sql, dataDir, host);
    }
    const acknowledged = traffics.flatMap((traffic) => traffic.acknowledged);
    await expectHonoured(sql, acknowledged, ["RELEASED"]);
    const { workspaces } = await first.client.workspaces.listActive({ states: [WorkspaceState.QUARANTINED] });
    expect(workspaces).toEqual([]);
    process.stdout.write(`${acknowledged.length} leases\n`);
    for (const server of all) await server.stop();
  },
  (seconds + 400) * 1_000,
);
