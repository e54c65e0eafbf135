/**
 * The proof, for a given time: kinds of mischief and random sequences of a holder, each with a random end of its lease,
 * and beside them kills of workers and of the server, and failing disks, at random points. `LEASEHOLD_SOAK_SECONDS` says
 * for how long; without it, until 2,000 sequences were played. `LEASEHOLD_SOAK_SEED` repeats a run's choices.
 */
import fc from "fast-check";
import { afterAll, it } from "vitest";
import { type Action, Failpoints } from "../failpoints/failpoints.js";
import { Trial } from "../failpoints/recovery.js";
import { files } from "../hostile/files.js";
import { objects } from "../hostile/objects.js";
import { missing, playOnce } from "../hostile/playing.js";
import { processes } from "../hostile/processes.js";
import { settings } from "../hostile/settings.js";
import { counts, Stage } from "../hostile/stage.js";
import { state } from "../hostile/state.js";
import { playSequences, tally } from "../property/laws.js";
import { useServers } from "../support/server.js";

const given = process.env.LEASEHOLD_SOAK_SECONDS;
const seconds = given === undefined ? 6 * 3_600 : Number(given);
const wanted = given === undefined ? 2_000 : Number.POSITIVE_INFINITY;
const seed = Number(process.env.LEASEHOLD_SOAK_SEED ?? Date.now() % 100_000);
/** Lanes for sequences, and one for each of the other two. */
const sequenceLanes = 2;
const batch = 50;
const actions: readonly Action[] = ["kill-worker", "kill-server", "full", "read-only"];
const table = [...settings, ...state, ...objects, ...files, ...processes];

const servers = useServers();
const opened: Stage[] = [];
afterAll(async () => {
  for (const stage of opened) await stage.close();
});

it(
  `A5 B2 G1 G2 the proof for ${given ?? "as long as it takes"} s, seed ${seed}`,
  async () => {
    const end = performance.now() + seconds * 1_000;
    const isOver = () => performance.now() > end || tally.sequences >= wanted;
    const random = fc.sample(fc.nat(), { seed, numRuns: 100_000 });
    let drawn = 0;
    const pick = <T>(all: readonly T[]): T => all[(random[drawn++ % random.length] ?? 0) % all.length] as T;
    const kinds = new Set<string>();
    const hits = new Map<Action, number>();
    const tell = () => {
      const deeds = [...hits].map(([action, count]) => `${count} ${action}`).join(", ");
      const { leases, quarantines } = counts;
      const { sequences, salvages } = tally;
      process.stdout.write(
        `${new Date().toISOString()} ${leases} leases, ${kinds.size} kinds, ${sequences} sequences, ${salvages} salvages, ` +
          `${quarantines} quarantines, at points: ${deeds || "nothing yet"}\n`,
      );
    };

    const calm = await Stage.open(servers, sequenceLanes + 1);
    opened.push(calm);
    const sequences = async () => {
      for (let round = 0; !isOver(); round++) {
        const count = Math.min(batch, wanted - tally.sequences);
        await playSequences(calm, sequenceLanes, count, seed + round * 1_000, end - performance.now());
        tell();
      }
    };
    const mischief = async () => {
      while (!isOver()) {
        const kind = pick(table);
        if ((await missing(kind)) !== undefined) continue;
        await calm.withLane((lane) => playOnce(calm, lane, kind, pick(["release", "expiry"] as const)));
        kinds.add(kind.name);
      }
    };
    const rough = async () => {
      const root = await servers.directory();
      const points = await Failpoints.make(root);
      const databaseUrl = await servers.database();
      const stage = await Stage.open(servers, 1, { root, databaseUrl, env: points.env });
      opened.push(stage);
      const trial = new Trial(stage, points);
      await trial.warmUp(1);
      const [cleaning, restoring] = [await trial.pointsOfCleaning(), await trial.pointsOfRestoring()];
      while (!isOver()) {
        const action = pick(actions);
        if (pick([true, true, false])) await trial.clean(pick(cleaning), action);
        else await trial.restore(pick(restoring), action);
        hits.set(action, (hits.get(action) ?? 0) + 1);
      }
      await trial.expectSoundDisk();
    };
    await Promise.all([sequences(), mischief(), rough()]);
    tell();
  },
  (seconds + 600) * 1_000,
);
