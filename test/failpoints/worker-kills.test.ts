/**
 * A git worker is killed, or its disk fails, at named points between a lease's end and the clean workspace, and while a
 * salvage is restored: nothing is lost, nothing is left, the next lease is a fresh clone.
 */
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { Stage } from "../hostile/stage.js";
import { sample, writing } from "../support/sample.js";
import { useServers } from "../support/server.js";
import { Failpoints } from "./failpoints.js";
import { Trial } from "./recovery.js";

const lanes = 4;
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
  await trial.warmUp(lanes);
  cleaning = await trial.pointsOfCleaning();
  restoring = await trial.pointsOfRestoring();
}, 180_000);
afterAll(() => trial?.stage.close());

it("B2 there are points in every step", () => {
  for (const operation of ["salvageWork", "cleanWorkspace", "verifyWorkspace", "prepareWorkspace", "restoreSalvage"]) {
    const found = [...cleaning, ...restoring].filter((point) => point.startsWith(`${operation} `));
    expect(found.length, operation).toBeGreaterThan(10);
  }
});

it("B2 G12 G2 a worker that is killed on the way to a clean workspace loses nothing", async () => {
  await Promise.all(sample(cleaning, 8).map((point) => trial.clean(point, "kill-worker")));
}, 600_000);

it("B2 G12 G2 a worker that is killed while it restores a salvage brings all of it back the next time", async () => {
  await Promise.all(sample(restoring, 4).map((point) => trial.restore(point, "kill-worker")));
}, 600_000);

it("B2 G2 a disk that is full for a moment, or read-only, loses nothing", async () => {
  const [whenCleaned, whenRestored] = [writing(cleaning), writing(restoring)];
  await Promise.all([
    ...sample(whenCleaned, 4).map((point) => trial.clean(point, "full")),
    ...sample(whenCleaned, 2).map((point) => trial.clean(point, "read-only")),
    ...sample(whenRestored, 2).map((point) => trial.restore(point, "full")),
  ]);
}, 600_000);

it("B2 G2 a disk that fails while a holder's git is read does not make its commits look as if they were not there", async () => {
  const reading = cleaning.filter((point) => point.startsWith("salvageWork openSync workspaces/R/W/.git"));
  expect(reading.length).toBeGreaterThan(3);
  await Promise.all(sample(reading, 6).map((point) => trial.clean(point, "full")));
}, 600_000);

it("B2 A5 nothing is left of all that", async () => {
  trial.expectHits();
  await trial.expectSoundDisk();
  expect(await trial.stage.damageAround()).toEqual([]);
}, 90_000);
