/**
 * Random sequences of what a holder does with git and files, and a random end of its lease: the next lease is a fresh
 * clone, and everything that was not ignored is in the upstream or in the salvage. `LEASEHOLD_SEED` repeats a run;
 * `npm run test:soak` plays thousands.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { Stage } from "../hostile/stage.js";
import { useServers } from "../support/server.js";
import { playSequences, tally } from "./laws.js";

const lanes = 3;
const count = 24;
/** On a starved machine fewer are played. */
const limitMs = 40_000;
const seed = Number(process.env.LEASEHOLD_SEED ?? Date.now() % 1_000_000);

const servers = useServers();
let stage: Stage;

beforeAll(async () => {
  stage = await Stage.open(servers, lanes);
}, 180_000);
afterAll(() => stage?.close());

it(`G1 G2 whatever a holder did, the next lease is a fresh clone, and nothing is lost (seed ${seed})`, async () => {
  await playSequences(stage, lanes, count, seed, limitMs);
  expect(tally.sequences).toBeGreaterThan(0);
  process.stdout.write(`${tally.sequences} sequences, ${tally.salvages} salvages\n`);
}, 180_000);
