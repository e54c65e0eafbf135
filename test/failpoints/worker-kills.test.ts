/**
 * A git worker is killed, or its disk fails, at named points between a lease's end and the clean workspace, and while a
 * salvage is restored: nothing is lost, nothing is left, the next lease is a fresh clone.
 */
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { Stage } from "../hostile/stage.js";
import { useServers } from "../support/server.js";
import { Failpoints } from "./failpoints.js";
import { Trial } from "./recovery.js";
import { sample } from "./sample.js";

const lanes = 6;
vi.setConfig({ maxConcurrency: lanes });
const servers = useServers();
let trial: Trial;
let cleaning: readonly string[] = [];
let restoring: readonly string[] = [];

beforeAll(async () => {
  const root = await servers.directory();
  const points = await Failpoints.make(root);
  const databaseUrl = await servers.database();
  trial = new Trial(await Stage.open(servers, lanes, { root, databaseUrl, env: points.env }), points);
  cleaning = await trial.pointsOfCleaning();
  restoring = (await trial.pointsOfRestoring()).filter((point) => point.startsWith("restoreSalvage"));
}, 60_000);
afterAll(() => trial?.stage.close());

it("B2 there are points in every step", () => {
  for (const operation of ["salvageWork", "cleanWorkspace", "verifyWorkspace"]) {
    expect(cleaning.filter((point) => point.startsWith(operation)).length).toBeGreaterThan(1);
  }
  expect(restoring.length).toBeGreaterThan(3);
});

it("B2 F2 G2 a worker that is killed on the way to a clean workspace loses nothing and leaves nothing", async () => {
  await Promise.all(sample(cleaning, 10).map((point) => trial.clean(point, "kill-worker")));
}, 120_000);

it("B2 F2 G2 a worker that is killed while it restores a salvage brings all of it back the next time", async () => {
  await Promise.all(sample(restoring, 5).map((point) => trial.restore(point, "kill-worker")));
}, 120_000);

it("B2 G2 a disk that is full, or read-only, on the way to a clean workspace loses nothing", async () => {
  const full = sample(cleaning, 5).map((point) => trial.clean(point, "full"));
  await Promise.all([...full, ...sample(cleaning, 3).map((point) => trial.clean(point, "read-only"))]);
}, 120_000);
