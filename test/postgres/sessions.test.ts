import { afterEach, beforeEach, expect, test } from "vitest";
import type { ChangeInput } from "../../src/domain/session.js";
import type { SessionClaim } from "../../src/ports/session-store.js";
import { lease, openStoreFixture, type StoreFixture } from "../support/store.js";

let fixture: StoreFixture;
let claim: SessionClaim;

beforeEach(async () => {
  fixture = await openStoreFixture();
  claim = await opened();
});
afterEach(() => fixture.close());

async function opened(): Promise<SessionClaim> {
  const { lease: key } = await lease(fixture);
  const outcome = await fixture.store.sessions.open(key, undefined, {});
  if (outcome.kind !== "opened") throw new Error(outcome.kind);
  return { sessionId: outcome.session.id, key };
}

const number = () => claim.sessionId.slice(1);

test("E2 no SQL makes an agent work without a conversation, or keeps half of where it is bound", async () => {
  const { sql, store } = fixture;
  await store.sessions.attach(claim, "ada", "demo", undefined);
  await expect(sql`update session_agents set state = 'RUNNING'`).rejects.toThrow(
    "working_agents_have_a_backend_session",
  );
  await expect(sql`update session_agents set backend_session_id = 'x'`).rejects.toThrow(
    "id_and_path_are_both_or_neither",
  );
  await expect(sql`update session_agents set bound_path = '/x'`).rejects.toThrow("id_and_path_are_both_or_neither");
  await expect(sql`update session_agents set problem = 'x'`).rejects.toThrow("only_failed_agents_have_a_problem");
  await expect(sql`update session_agents set backend = 'Not A Name'`).rejects.toThrow("backend_is_a_name");
  await expect(sql`update session_agents set state = 'IDLE', backend_session_id = 'x', bound_path = '/x', bound_host = 'h',
    bound_workspace_id = 1`).rejects.toThrow("cannot go from STARTING to IDLE");
});

test("D2 no SQL closes a session by halves, gives a conversation to two, or a binding two open sessions", async () => {
  const { sql, store } = fixture;
  await expect(sql`update sessions set state = 'CLOSED'`).rejects.toThrow("a_closed_session_says_when_and_why");
  await expect(sql`update sessions set close_reason = 'MAX_AGE'`).rejects.toThrow("a_closed_session_says_when_and_why");
  const other = await opened();
  for (const one of [claim, other]) await store.sessions.attach(one, "ada", "demo", undefined);
  const update = { expectedVersion: 0n, backendSessionId: "mine", state: "RUNNING", problem: "" } as const;
  expect(await store.sessions.update(claim, "ada", update)).toBe("updated");
  expect(await store.sessions.update(other, "ada", update)).toBe("in-use");
  await expect(sql`update session_agents set backend_session_id = 'mine', bound_path = '/x', bound_host = 'h', bound_workspace_id = 1
    where session_id = ${other.sessionId.slice(1)}`).rejects.toThrow("backend_sessions_are_one_agents");
  await expect(sql`update sessions set binding = 'desk'`).rejects.toThrow("one_open_session_per_binding");
  await expect(sql`update sessions set workspace_id = 1, fence = 1`).rejects.toThrow("one_open_session_per_lease");
});

test("D2 the end of the lease suspends the session and stops its agents in the same transaction", async () => {
  const { store, sql } = fixture;
  await store.sessions.attach(claim, "ada", "demo", undefined);
  const update = { expectedVersion: 0n, backendSessionId: "mine", state: "RUNNING", problem: "" } as const;
  await store.sessions.update(claim, "ada", update);
  await store.leases.end(claim.key, "RELEASED", "CLEAN");
  const session = await store.sessions.find(claim.sessionId);
  expect(session).toMatchObject({
    state: "SUSPENDED",
    agents: [{ state: "STOPPED", backendSessionId: "mine", blocker: "NO_LEASE" }],
  });
  const [row] = await sql<{ same: boolean }[]>`
    select (select xmin from sessions where id = ${number()})::text = (select l.xmin from leases l join sessions s
            on s.workspace_id = l.workspace_id and s.fence = l.fence where s.id = ${number()})::text as same`;
  expect(row?.same).toBe(true);
  for (const attempt of [
    store.sessions.attach(claim, "bob", "demo", undefined),
    store.sessions.update(claim, "ada", { expectedVersion: 0n, problem: "" }),
  ]) {
    expect(await attempt).toBe("lost");
  }
  const change: ChangeInput = {
    ...{
      kind: "ADDED" as const,
      path: "a",
      previousPath: "",
      baseCommit: "",
      commit: "",
      patch: "",
      patchTruncated: false,
    },
    summary: "",
  };
  expect(await store.sessions.record(claim, "ada", "", "d", [change])).toEqual({ kind: "lost" });
});

test("D2 another caller's session is not there, whatever token it is asked with", async () => {
  const { store } = fixture;
  const theirs = { ...claim, caller: "mallory" };
  expect(await store.sessions.find(claim.sessionId, "mallory")).toBeUndefined();
  expect(await store.sessions.attach(theirs, "ada", "demo", undefined)).toBe("unknown");
  expect(await store.sessions.close(claim.sessionId, { caller: "mallory", force: true })).toBe("unknown");
  expect(await store.sessions.list({ states: ["ACTIVE"], caller: "mallory" }, "", 10)).toEqual([]);
});

test("E3 fifty recordings at once leave no gap, and a request id counts once", async () => {
  const { store } = fixture;
  await store.sessions.attach(claim, "ada", "demo", undefined);
  const change: ChangeInput = {
    ...{
      kind: "MODIFIED" as const,
      path: "a",
      previousPath: "",
      baseCommit: "",
      commit: "",
      patch: "",
      patchTruncated: false,
    },
    summary: "",
  };
  await Promise.all(
    Array.from({ length: 50 }, (_, i) => store.sessions.record(claim, "ada", `r${i % 25}`, "d", [change, change])),
  );
  const { changes } = await store.sessions.changes(claim.sessionId, {}, 0n, 1_000, 1 << 21);
  expect(changes.map(({ sequence }) => Number(sequence))).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
  expect(await store.sessions.record(claim, "ada", "r1", "other", [change])).toEqual({ kind: "reused" });
});
