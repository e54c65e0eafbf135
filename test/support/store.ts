/**
 * Owns: a store on a database of its own, with one repository whose mirror is ready, for tests that need no files.
 */
import { randomUUID } from "node:crypto";
import { defaultSettings, type Repository } from "../../src/domain/repository.js";
import type { Grant, GrantOutcome } from "../../src/ports/lease-store.js";
import { connectPool, type Sql } from "../../src/postgres/client.js";
import { openStore, type Store } from "../../src/postgres/store.js";
import { createDatabase, type TestDatabase } from "./database.js";

export interface StoreFixture {
  readonly database: TestDatabase;
  readonly store: Store;
  readonly repository: Repository;
  /** For looking and for breaking things, past the store. */
  readonly sql: Sql;
  /** Another server process's store on the same database; the same host by default. */
  another(hostName?: string): Promise<Store>;
  close(): Promise<void>;
}

export const hostName = "test-host";

export async function openStoreFixture(maxWorkspaces = 4): Promise<StoreFixture> {
  const database = await createDatabase();
  const dataId = randomUUID();
  const stores: Store[] = [];
  const open = async (name: string, id: string) => {
    const { connection } = database;
    const store = await openStore({ connection, direct: connection, hostName: name, dataId: id, poolSize: 12 });
    stores.push(store);
    return store;
  };
  const store = await open(hostName, dataId);
  await store.ownership.start();
  const registered = await store.repositories.register("demo", {
    ...defaultSettings,
    url: "/srv/demo.git",
    maxWorkspaces,
    salvageTtlMs: 60_000,
  });
  if (registered.kind !== "registered") throw new Error("a fresh database has a repository");
  const { repository } = registered;
  await store.repositories.updateMirror(repository.id, {
    state: "READY",
    problem: "",
    defaultBranch: "main",
    digest: "1",
    fetchedMsAgo: 0,
  });
  const sql = connectPool(database.connection, { max: 2, name: "test" });
  return {
    database,
    store,
    repository,
    sql,
    another: (name = hostName) => open(name, name === hostName ? dataId : randomUUID()),
    close: async () => {
      for (const opened of stores.reverse()) {
        await opened.ownership.stop().catch(() => {});
        await opened.close();
      }
      await sql.end({ timeout: 1 });
      await database.drop();
    },
  };
}

/** Opens a ticket; `requestId` empty is not idempotent. */
export async function openTicket(
  fixture: StoreFixture,
  store = fixture.store,
  requestId = "",
  mayWait = true,
  binding = "",
): Promise<bigint> {
  const opened = await store.tickets.open({
    caller: "",
    requestId,
    digest: "d",
    repositoryId: fixture.repository.id,
    hostId: fixture.store.ownership.host.id,
    spec: { revision: "", holder: "test", labels: {}, ttlMs: 60_000, maxStalenessMs: 0, branch: "", binding, mayWait },
  });
  if (opened.kind === "reused") throw new Error("the request id was used before");
  return opened.ticketId;
}

export const commit = "c".repeat(40);
const wanted = { commit, head: "refs/heads/main", refsVersion: 1n };

export function grant(store: Store, ticketId: bigint): Promise<GrantOutcome> {
  return store.tickets.grant({
    ticketId,
    ...wanted,
    workspaceRoot: "/workspaces",
    mayMake: true,
    url: "/srv/demo.git",
  });
}

/** A lease by all its steps, without files. */
export async function lease(fixture: StoreFixture, store = fixture.store): Promise<Grant> {
  const ticketId = await openTicket(fixture, store);
  const granted = await grant(store, ticketId);
  if (granted.kind !== "granted") throw new Error(`not granted but ${granted.kind}`);
  const activated = await store.tickets.activate({
    ticketId,
    key: granted.key,
    ...wanted,
    source: "CREATED",
    timings: [],
  });
  if (!activated) throw new Error("not activated");
  return activated;
}

/** Finishes all file work that is due, as if it had been done. */
export async function finishDueWork(store: Store): Promise<void> {
  for (const work of await store.work.claimWork([], "/workspaces", 1_000)) {
    await store.work.finishWork(work.key, work.kind === "remove" ? { kind: "retired" } : { kind: "idle", ...wanted });
  }
}

/** Makes workspaces that are idle. */
export async function makeIdle(fixture: StoreFixture, count: number): Promise<void> {
  const { store } = fixture;
  const leases = [];
  for (let i = 0; i < count; i++) leases.push((await lease(fixture)).lease);
  for (const held of leases) await store.leases.end(held, "RELEASED", "CLEAN");
  await finishDueWork(store);
}
