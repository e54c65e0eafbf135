/**
 * The two lines of defence against two holders of one workspace: advisory locks, and compare-and-set with constraints.
 * Each is taken away in turn, and the other still holds; with both gone the test sees double grants, so it can fail.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Sql } from "../../src/postgres/client.js";
import { grant, makeIdle, openStoreFixture, openTicket, type StoreFixture } from "../support/store.js";

const workspaces = 3;
const racers = 24;
let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture(workspaces);
  await makeIdle(fixture, workspaces);
});
afterEach(() => fixture.close());

async function rewrite(sql: Sql, name: string, from: RegExp, to: string): Promise<void> {
  const [row] = await sql<
    { text: string }[]
  >`select pg_get_functiondef(oid) as text from pg_proc where proname = ${name}`;
  const changed = row?.text.replaceAll(from, to) ?? "";
  expect(changed).not.toBe(row?.text);
  await sql.unsafe(changed);
}

const withoutAdvisoryLocks = async (sql: Sql) => {
  await rewrite(sql, "try_lock_workspace", /pg_try_advisory_xact_lock\([^;]*\)\s*$/gm, "true");
  await rewrite(sql, "lock_queue", /pg_advisory_xact_lock\(.*\)\)/g, "null::void");
};
const withoutRowLocks = (sql: Sql) => rewrite(sql, "grant_ticket", /for update skip locked/g, "");
/** A moment between choosing and taking, so that a race without locks is lost for certain. */
const withPause = (sql: Sql) =>
  rewrite(
    sql,
    "grant_ticket",
    /if w\.id is not null then\s+origin/g,
    "perform pg_sleep(0.05); if w.id is not null then origin",
  );
const withoutCompare = (sql: Sql) =>
  rewrite(sql, "grant_ticket", /where x\.id = w\.id and x\.fence = w\.fence returning/g, "where x.id = w.id returning");

/** Many tickets ask at once; answers how often each workspace was granted. */
async function race(): Promise<number[]> {
  const tickets = await Promise.all(Array.from({ length: racers }, () => openTicket(fixture)));
  const outcomes = await Promise.allSettled(tickets.map((ticket) => grant(fixture.store, ticket)));
  const counts = new Map<string, number>();
  for (const outcome of outcomes) {
    if (outcome.status !== "fulfilled" || outcome.value.kind !== "granted") continue;
    const { workspaceId } = outcome.value.key;
    counts.set(workspaceId, (counts.get(workspaceId) ?? 0) + 1);
  }
  return [...counts.values()];
}

describe("F4 G4 no workspace is granted twice", () => {
  test("with both lines of defence", async () => {
    await withPause(fixture.sql);
    expect(await race()).toEqual(Array(workspaces).fill(1));
  });

  test("without the advisory locks", async () => {
    await withPause(fixture.sql);
    await withoutAdvisoryLocks(fixture.sql);
    const counts = await race();
    expect(counts.length).toBeGreaterThan(0);
    expect(Math.max(...counts)).toBe(1);
  });

  test("without the row locks and the compare-and-set on the fence", async () => {
    await withPause(fixture.sql);
    await withoutRowLocks(fixture.sql);
    await withoutCompare(fixture.sql);
    expect(await race()).toEqual(Array(workspaces).fill(1));
  });

  test("and without either, it is: the race is real", async () => {
    await withPause(fixture.sql);
    await withoutAdvisoryLocks(fixture.sql);
    await withoutRowLocks(fixture.sql);
    await withoutCompare(fixture.sql);
    await fixture.sql.unsafe("drop trigger guard_workspace on workspaces");
    expect(Math.max(...(await race()))).toBeGreaterThan(1);
  });
});

test("F4 a second live lease on a workspace is refused by the database itself", async () => {
  const { sql } = fixture;
  const insert = (fence: number) => sql`
    insert into leases (workspace_id, fence, ticket_id, caller, holder, revision, commit_id, labels, source, timings, ttl, expire_time)
    select min(id), ${fence}, 1, '', '', '', '', '{}', 'WARM', '[]', '1 minute', now() from workspaces`;
  await insert(100);
  await expect(insert(101)).rejects.toThrow(/one_live_lease_per_workspace/);
});

test("G4 a fence never falls, and no transition outside the table is stored", async () => {
  const { sql } = fixture;
  await expect(sql`update workspaces set fence = fence - 1`).rejects.toThrow(/fence/);
  await expect(sql`update workspaces set state = 'LEASED', idle_time = null`).rejects.toThrow(
    /cannot go from IDLE to LEASED/,
  );
});
