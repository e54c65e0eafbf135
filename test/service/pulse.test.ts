/** What happens by itself goes on beside slow files, and beside files that refuse to go. */
import { existsSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { acquire, call, openSite, type Site } from "../support/services.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

// workers, a database and a server's parts in one process: on a busy machine they take their time
vi.setConfig({ testTimeout: 60_000 });

let site: Site;
beforeAll(async () => {
  site = await openSite();
});
afterAll(() => site.close());

async function repository(name: string): Promise<string> {
  const { url } = await Upstream.make(site.directory.at("upstreams"), name);
  await site.register(name, url);
  return url;
}

const mirrorOf = (name: string) => site.directory.at("data", "mirrors", `${name}.git`);
const isThere = async (name: string) => (await site.fixture.store.repositories.byName(name)) !== undefined;
const leave = (id: string, token: string) =>
  site.services.workspaces.release(
    { leaseId: id, token, disposition: "CLEAN", waitForClean: true, dependenciesInstalled: false },
    call(),
  );

test("G10 leases expire while a large mirror is being removed, and no repository's name is free before its mirror is gone", async () => {
  await repository("first");
  const url = await repository("second");
  for (const name of ["first", "second"]) await until("mirrors are there", () => existsSync(mirrorOf(name)));
  let letGo = () => {};
  const slow = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  try {
    site.before("emptyTrash", () => slow);
    await site.services.administration.removeRepository("first", true, call());
    await site.services.administration.removeRepository("second", true, call());
    await until("both have gone", async () => !(await isThere("first")) && !(await isThere("second")));
    expect([existsSync(mirrorOf("first")), existsSync(mirrorOf("second"))]).toEqual([false, false]);
    // nothing of the old one's end touches the new one's mirror, and time goes on for leases
    await site.register("second", url);
    const { grant } = await acquire(site, "second", { ttlMs: 100 });
    await until("the lease has expired", async () => (await site.fixture.store.leases.find(grant.lease))?.endReason);
    expect(existsSync(mirrorOf("second"))).toBe(true);
  } finally {
    letGo();
  }
});

test("G2 a salvage whose files refuse to go stands in no other one's way", async () => {
  const ids: string[] = [];
  for (const name of ["bad", "good"]) {
    await repository(name);
    const { grant, token } = await acquire(site, name);
    writeFileSync(`${grant.workspace.path}/mine.txt`, "only here");
    const { workspaceId, fence } = grant.lease;
    const { fate } = await leave(`${workspaceId}.${fence}`, token);
    if (fate.kind !== "saved") throw new Error(fate.kind);
    ids.push(fate.salvage.salvageId);
  }
  let refused = 0;
  site.before("discardSalvage", async (path) => {
    if (!String(path).endsWith("/bad.git")) return;
    refused += 1;
    throw new Error("the directory is damaged");
  });
  const { sql } = site.fixture;
  await sql`update salvages set expire_time = now() - case repository when 'bad' then interval '2 hours' else interval '1 hour' end`;
  const left = async () => (await sql<{ id: string }[]>`select id from salvages`).map(({ id }) => id);
  await until("the other one has gone", async () => !(await left()).includes(ids[1] ?? ""));
  expect(await left()).toEqual([ids[0]]);
  expect(refused).toBe(1);
});

test("F6 a host where nothing is to be measured asks for that far less often than its heart beats", async () => {
  const { usage, leases } = site.fixture.store;
  const counts = { beats: 0, asked: 0 };
  const [expire, due] = [leases.expire.bind(leases), usage.due.bind(usage)];
  leases.expire = () => {
    counts.beats += 1;
    return expire();
  };
  usage.due = (...args) => {
    counts.asked += 1;
    return due(...args);
  };
  const begin = performance.now();
  await until("its heart has beaten", () => counts.beats >= 4);
  expect(counts.asked).toBeLessThanOrEqual(1 + Math.ceil((performance.now() - begin) / 5_000));
});
