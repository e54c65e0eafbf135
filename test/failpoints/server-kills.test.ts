/**
 * The server is killed at named points between a lease's end and the clean workspace, and while a salvage is restored:
 * the next one does what was due; nothing is lost, nothing is left, the next lease is a fresh clone.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { Stage } from "../hostile/stage.js";
import { sample } from "../support/sample.js";
import { useServers } from "../support/server.js";
import { Failpoints } from "./failpoints.js";
import { Trial } from "./recovery.js";

const servers = useServers();
let trial: Trial;
let cleaning: readonly string[] = [];
let restoring: readonly string[] = [];

beforeAll(async () => {
  const root = await servers.directory();
  const points = await Failpoints.make(root);
  const databaseUrl = await servers.database();
  trial = new Trial(await Stage.open(servers, 1, { root, databaseUrl, env: points.env }), points);
  await trial.warmUp(1);
  cleaning = await trial.pointsOfCleaning();
  restoring = await trial.pointsOfRestoring();
}, 180_000);
afterAll(() => trial?.stage.close());

it("B2 G2 a server that is killed on the way to a clean workspace loses nothing", async () => {
  for (const point of sample(cleaning, 4)) await trial.clean(point, "kill-server");
}, 600_000);

it("B2 G2 a server that is killed while it restores a salvage brings all of it back to the same request", async () => {
  for (const point of sample(restoring, 3)) await trial.restore(point, "kill-server");
}, 600_000);

it("B2 A5 nothing is left of all that", async () => {
  trial.expectHits();
  await trial.expectSoundDisk();
  expect(await trial.stage.damageAround()).toEqual([]);
}, 90_000);
