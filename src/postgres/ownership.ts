/**
 * Implements the port `HostOwnership`: one server process owns a host's directories.
 *
 * Invariants:
 * 1. Ownership is a session lock on a connection of its own, never reserved from a pool (client.ts, invariant 1). Its session ends
 *    on the database's clock when this process is frozen, and its end is ownership's end.
 * 2. Each time ownership is gained, it has a new `ownerId`; whatever was claimed under an older one is refused by compare-and-set.
 * 3. A host that was removed is never owned again: what it had is nobody's to touch. Its server goes on as a new host of that name.
 * 4. A beat that failed is confessed in the next one: the host counts as well only from then on.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { HostOwnership } from "../ports/host-store.js";
import { connectPool, only, type PostgresConnection, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { lockClass } from "./locks.js";

const tryEveryMs = 250;
const beatEveryMs = 1_000;
const lockSessionTimeoutMs = 4_000;

/** Joins the fleet as `hostName`. Fails if the name belongs to another data directory. */
export async function joinHost(sql: Sql, hostName: string, dataId: string): Promise<Identity> {
  const row = only(
    await run(
      () =>
        sql<
          { outcome: "joined" | "taken"; host: number; desk: string }[]
        >`select * from join_host(${hostName}, ${dataId})`,
    ),
  );
  if (row.outcome === "taken") {
    throw new Error(`host name ${hostName} belongs to another data directory in this database; choose one with --host`);
  }
  return { hostId: row.host, hostName, dataId, deskId: BigInt(row.desk), ownerId: 0n };
}

export class PostgresOwnership implements HostOwnership {
  readonly #sql: Sql;
  readonly #lockSql: Sql;
  readonly #identity: Identity;
  readonly #listeners = new Set<(owner: boolean) => void>();
  readonly #stop = new AbortController();
  #lost = new AbortController();
  #owner = false;
  #broken = false;
  #loops: Promise<unknown> | undefined;

  constructor(sql: Sql, direct: PostgresConnection, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
    this.#lockSql = connectPool(direct, {
      max: 1,
      name: `leasehold owner of ${identity.hostName}`,
      idleSessionTimeoutMs: lockSessionTimeoutMs,
      onClose: () => this.#lose(),
    });
  }

  get host(): { readonly id: number; readonly name: string } {
    return { id: this.#identity.hostId, name: this.#identity.hostName };
  }

  get owner(): boolean {
    return this.#owner;
  }

  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  onChange(listener: (owner: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Begins to beat and to strive for ownership; tries once before it returns. */
  async start(): Promise<void> {
    await this.#tryOwn().catch(() => {});
    this.#loops = Promise.all([
      this.#every(tryEveryMs, () => this.#watchLock()),
      this.#every(beatEveryMs, () => this.#beat()),
    ]);
  }

  /** Gives ownership up in an orderly way, so that the next server need not wait. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loops;
    const { deskId, ownerId } = this.#identity;
    await this.#sql`select leave_host(${String(deskId)}, ${String(ownerId)})`.catch(() => {});
    this.#lose();
    await this.#lockSql.end({ timeout: 2 });
  }

  async #every(ms: number, action: () => Promise<void>): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await action().catch(() => {});
      await sleep(ms, undefined, { signal: this.#stop.signal, ref: false }).catch(() => {});
    }
  }

  async #watchLock(): Promise<void> {
    if (!this.#owner) return this.#tryOwn();
    // keeps the session from idling out; a session that was replaced unseen does not hold the lock
    const [row] = await this.#lockSql<{ held: boolean }[]>`
      select exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted
                        and classid = ${lockClass.owner} and objid = ${this.host.id}) as held`;
    if (!row?.held) this.#lose();
  }

  async #tryOwn(): Promise<void> {
    const [row] = await this.#lockSql<{ held: boolean }[]>`
      select pg_try_advisory_lock(${lockClass.owner}::int, ${this.host.id}::int) as held`;
    if (!row?.held || this.#stop.signal.aborted) return;
    const [owned] = await this.#sql<{ server: string | null }[]>`
      select own_host(${this.host.id}, ${String(this.#identity.deskId)}) as server`;
    if (!owned) return;
    if (owned.server === null) return this.#rejoin();
    this.#identity.ownerId = BigInt(owned.server);
    this.#lost = new AbortController();
    this.#owner = true;
    for (const listener of this.#listeners) listener(true);
  }

  /** Invariant 3. The next try is for the new one. */
  async #rejoin(): Promise<void> {
    const { hostName, dataId } = this.#identity;
    await this.#lockSql`select pg_advisory_unlock_all()`;
    const [row] = await this.#sql<{ host: number | null }[]>`select rejoin_host(${hostName}, ${dataId}) as host`;
    if (row?.host) this.#identity.hostId = row.host;
  }

  async #beat(): Promise<void> {
    const { deskId, ownerId, hostId } = this.#identity;
    try {
      const [row] = await this.#sql<{ owner: boolean }[]>`
        select beat(${String(deskId)}, ${String(ownerId)}, ${hostId}, ${this.#broken}) as owner`;
      this.#broken = false;
      if (this.#owner && ownerId === this.#identity.ownerId && !row?.owner) this.#lose();
    } catch (error) {
      this.#broken = true;
      throw error;
    }
  }

  #lose(): void {
    if (!this.#owner) return;
    this.#owner = false;
    this.#lost.abort();
    for (const listener of this.#listeners) listener(false);
  }
}
