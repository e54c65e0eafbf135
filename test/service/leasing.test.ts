/** What the callers of leases are told: all of what is theirs, in time, and nothing of what is another's. */
import { symlinkSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { Acquired } from "../../src/service/services.js";
import { acquire, call, openSite, type Site } from "../support/services.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

// workers, a database and a server's parts in one process: on a busy machine they take their time
vi.setConfig({ testTimeout: 60_000 });

let site: Site;
let url: string;
let code: string;
let repositories = 0;
beforeAll(async () => {
  site = await openSite();
  ({ url } = await Upstream.make(site.directory.at("upstreams"), "code"));
});
afterAll(() => site.close());
beforeEach(async () => {
  code = `code${++repositories}`;
  const path = site.directory.at("upstreams", `${code}.git`);
  symlinkSync(url, path);
  await site.register(code, path);
});

const nameOf = ({ grant: { lease } }: Acquired) => `${lease.workspaceId}.${lease.fence}`;
const release = (held: Acquired, more: { disposition?: "PARK"; waitForClean?: boolean } = {}, context = call()) =>
  site.services.workspaces.release(
    {
      ...{ leaseId: nameOf(held), token: held.token, disposition: "CLEAN" },
      ...{ waitForClean: false, dependenciesInstalled: false, ...more },
    },
    context,
  );
const reasonOf = (doing: Promise<unknown>) =>
  doing.then(
    () => "none",
    (error: { reason: string }) => error.reason,
  );

test("G4 Release that waits for the cleaning answers what is known before the call's deadline", async () => {
  const held = await acquire(site, code);
  let letGo = () => {};
  const slow = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  site.before("salvageWork", () => slow);
  try {
    const context = call(undefined, 1_000);
    const released = await release(held, { waitForClean: true }, context);
    expect(context.timeLeftMs()).toBeGreaterThan(0);
    expect(released).toMatchObject({ workspace: { state: "CLEANING" }, fate: { kind: "pending" } });
  } finally {
    site.before("salvageWork", async () => {});
    letGo();
  }
});

test("G4 a repeated Release tells nothing of who has the workspace since", async () => {
  const first = await acquire(site, code);
  const cleaned = await release(first, { waitForClean: true });
  expect(cleaned.workspace).toMatchObject({ state: "IDLE", commit: first.grant.lease.commit });
  const second = await acquire(site, code, { binding: "theirs" });
  expect(second.grant.workspace.id).toBe(first.grant.workspace.id);
  for (const waitForClean of [false, true]) {
    const again = await release(first, { waitForClean });
    expect(again).toMatchObject({ alreadyReleased: true, fate: { kind: "none" } });
    expect(again.workspace).toMatchObject({ path: "", binding: "", fence: 0n, commit: "", head: "", problem: "" });
    expect(again.workspace.lease).toBeUndefined();
  }
});

test("D1 a runner sees the workspace that is parked for it, and no other runner does", async () => {
  const held = await acquire(site, code, { binding: "mine" }, call("ada"));
  await release(held, { disposition: "PARK" }, call("ada"));
  const { id } = held.grant.workspace;
  expect(await site.services.workspaces.get(id, call("ada"))).toMatchObject({ id, state: "PARKED", binding: "mine" });
  expect(await reasonOf(site.services.workspaces.get(id, call("bob")))).toBe("WORKSPACE_NOT_FOUND");
});

test("G4 a genuine token of a lease that was forgotten is LEASE_LOST for a runner as for an admin", async () => {
  const held = await acquire(site, code, {}, call("ada"));
  await release(held, { waitForClean: true }, call("ada"));
  const beat = (context = call("ada")) =>
    site.services.workspaces.heartbeat(nameOf(held), held.token, undefined, context);
  expect(await reasonOf(beat(call("bob")))).toBe("TOKEN_INVALID");
  await site.fixture.sql`delete from leases where caller = 'ada' and end_reason = 'RELEASED'`;
  expect(await reasonOf(beat())).toBe("LEASE_LOST");
  expect(await reasonOf(beat(call()))).toBe("LEASE_LOST");
  expect(await reasonOf(release(held, {}, call("ada")))).toBe("LEASE_LOST");
});

test("G1 verifying passes over workspaces whose host has no server, and says so", async () => {
  const held = await acquire(site, code);
  await release(held, { waitForClean: true });
  const gone = await site.fixture.another("gone-host");
  const { sql } = site.fixture;
  await sql`update workspaces set host_id = ${gone.ownership.host.id} where id = ${held.grant.workspace.id.slice(1)}`;
  const { id } = held.grant.workspace;
  const input = { repository: code, host: "", workspaceIds: [] };
  const results = await site.services.administration.verifyWorkspaces(input, call());
  expect(results).toMatchObject([{ workspaceId: id, skipped: "HOST_UNAVAILABLE" }]);
  // one whose owner goes while it is waited for is given up as well
  await gone.ownership.start();
  const waiting = site.services.administration.verifyWorkspaces(input, call());
  await until("it is asked for", async () => (await site.services.workspaces.get(id, call())).state === "CLEANING");
  await gone.ownership.stop();
  expect(await waiting).toMatchObject([{ skipped: "HOST_UNAVAILABLE" }]);
});
