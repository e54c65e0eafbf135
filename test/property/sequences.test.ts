/**
 * Random sequences of what a holder does with git and files, and a random end of its lease: the next lease is a fresh
 * clone, and everything that was not ignored is in the upstream or in the salvage. `LEASEHOLD_SEED` repeats a run;
 * `LEASEHOLD_SOAK` plays 2,000.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { Stage } from "../hostile/stage.js";
import { isSoak } from "../support/sample.js";
import { useServers } from "../support/server.js";
import { playSequences, tally } from "./laws.js";

const lanes = 3;
const count = isSoak ? 2_000 : 24;
/** On a starved machine fewer are played. */
const limitMs = isSoak ? 6 * 3_600_000 : 40_000;
const seed = Number(process.env.LEASEHOLD_SEED ?? Date.now() % 1_000_000);

const servers = useServers();
let stage: Stage;

beforeAll(async () => {
  stage = await Stage.open(servers, lanes);
}, 140_000 + limitMs);
afterAll(() => stage?.close());

it(
  `G1 G2 whatever a holder did, the next lease is a fresh clone, and nothing is lost (seed ${seed})`,
  async () => {
    await playSequences(stage, lanes, count, seed, limitMs);
    expect(tally.sequences).toBeGreaterThan(0);
    process.stdout.write(`${tally.sequences} sequences, ${tally.salvages} salvages\n`);
  },
  140_000 + limitMs,
);
