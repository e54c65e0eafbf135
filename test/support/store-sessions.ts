/**
 * Owns: leases with bindings and subjects, sessions, and a past for them, in a store without files.
 */
import type { Lease } from "../../src/domain/lease.js";
import type { Subject } from "../../src/domain/subject.js";
import { commit, grant, type StoreFixture } from "./store.js";

export const hour = 3_600_000;
export const day = 24 * hour;
export const limits = { graceMs: 10 * 60_000, maxAgeMs: 30 * day, orphanAgeMs: day };
export const subject: Subject = {
  ...{ url: "https://git.example.com/o/n/issues/7", forge: "ours", project: "o/n", kind: "ISSUE", number: 7 },
};

export async function lease(fixture: StoreFixture, binding: string, about?: Subject, caller = ""): Promise<Lease> {
  const { store, repository } = fixture;
  const spec = {
    revision: "main",
    holder: "h",
    labels: {},
    ttlMs: 60_000,
    maxStalenessMs: 0,
    branch: "",
    mayWait: false,
  };
  const opened = await store.tickets.open({
    ...{ caller, requestId: "", digest: "d", repositoryId: repository.id, hostId: store.ownership.host.id },
    spec: { ...spec, binding, ...(about ? { subject: about } : {}) },
  });
  if (opened.kind === "reused") throw new Error("reused");
  const { ticketId } = opened;
  const granted = await grant(store, ticketId);
  if (granted.kind !== "granted") throw new Error(granted.kind);
  const source = granted.source === "bound" ? "BOUND" : "CREATED";
  const request = { ticketId, key: granted.key, commit, head: "refs/heads/main", refsVersion: 1n, source, timings: [] };
  const activated = await store.tickets.activate(request as Parameters<typeof store.tickets.activate>[0]);
  if (!activated) throw new Error("not activated");
  return activated.lease;
}

/** An open session; parked, its workspace is kept for its binding. */
export async function session(
  fixture: StoreFixture,
  binding: string,
  about: Subject | undefined,
  parked: boolean,
  caller = "",
) {
  const held = await lease(fixture, binding, about, caller);
  const opened = await fixture.store.sessions.open(held, undefined, {});
  if (opened.kind === "lost" || opened.kind === "foreign") throw new Error(opened.kind);
  const { id } = opened.session;
  await fixture.store.sessions.attach({ sessionId: id, key: held }, "ada", "demo", undefined);
  const update = { expectedVersion: 0n, backendSessionId: `talk-${id}`, state: "RUNNING", problem: "" } as const;
  await fixture.store.sessions.update({ sessionId: id, key: held }, "ada", update);
  if (parked) await fixture.store.leases.end(held, "PARKED", "PARK");
  return { id, held, number: id.slice(1) };
}

/** As if everything had happened so long ago. */
export async function age(fixture: StoreFixture, ms: number): Promise<void> {
  const { sql } = fixture;
  const past = `${ms / 1000} seconds`;
  await sql`update sessions set active_time = active_time - ${past}::interval, create_time = create_time - ${past}::interval,
    close_time = close_time - ${past}::interval`;
  await sql`update workspaces set park_time = park_time - ${past}::interval, idle_time = idle_time - ${past}::interval`;
  await sql`update subjects set check_time = check_time - ${past}::interval, close_time = close_time - ${past}::interval`;
}
