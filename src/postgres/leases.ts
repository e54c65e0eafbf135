/** Implements the port's living leases: renewing, reading, ending, expiring. */
import type { Lease, LeaseEndReason, LeaseKey } from "../domain/lease.js";
import type { Disposition } from "../domain/workspace.js";
import type { EndOutcome, LeaseStore, Renewal } from "../ports/lease-store.js";
import { integers, only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { type LeaseRow, toLease, toWorkspace, type WorkspaceRow, workspaceNumber } from "./rows.js";

const expireBatch = 500;

export class PostgresLeases implements LeaseStore {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  /** One statement for all; locks in one order, so that two batches cannot block each other for ever. */
  async renew(renewals: readonly Renewal[]): Promise<readonly (Lease | undefined)[]> {
    const workspaces = `{${renewals.map((renewal) => workspaceNumber(renewal.workspaceId) ?? "0").join(",")}}`;
    const fences = integers(renewals.map((renewal) => renewal.fence));
    const ttls = `{${renewals.map((renewal) => renewal.ttlMs ?? "null").join(",")}}`;
    const rows = await run(
      () => this.#sql<LeaseRow[]>`
        with asked as (
          select workspace_id, fence, max(ttl_ms) as ttl_ms
            from unnest(${workspaces}::bigint[], ${fences}::bigint[], ${ttls}::float8[]) as a (workspace_id, fence, ttl_ms)
           group by 1, 2
        ), living as (
          select l.workspace_id, l.fence, coalesce(make_interval(secs => a.ttl_ms / 1000), l.ttl) as ttl
            from leases l join asked a using (workspace_id, fence)
           where l.end_time is null order by 1, 2 for update of l
        ), renewed as (
          update leases l set ttl = living.ttl, expire_time = clock_timestamp() + living.ttl
            from living where l.workspace_id = living.workspace_id and l.fence = living.fence
          returning l.*
        )
        -- the view is as before this statement: of what that changes, the later columns hold
        select v.*, n.expire_time, (extract(epoch from n.ttl) * 1000)::float8 as ttl_ms,
               (extract(epoch from n.expire_time - clock_timestamp()) * 1000)::float8 as remaining_ms
          from renewed n join lease_rows v on v.lease_workspace = n.workspace_id and v.lease_fence = n.fence`,
    );
    const leases = new Map(rows.map((row) => [`w${row.lease_workspace}.${row.lease_fence}`, toLease(row)]));
    return renewals.map((renewal) => leases.get(`${renewal.workspaceId}.${renewal.fence}`));
  }

  async find(key: LeaseKey): Promise<Lease | undefined> {
    const [row] = await run(
      () => this.#sql<LeaseRow[]>`
        select * from lease_rows where lease_workspace = ${workspaceNumber(key.workspaceId)} and lease_fence = ${String(key.fence)}`,
    );
    return row && toLease(row);
  }

  async end(key: LeaseKey, reason: LeaseEndReason, disposition: Disposition): Promise<EndOutcome> {
    const id = workspaceNumber(key.workspaceId);
    const ended = only(
      await run(
        () => this.#sql<{ outcome: "ended" | "already" | "unknown"; reason: LeaseEndReason }[]>`
          select outcome, reason from end_lease(${id}, ${String(key.fence)}, ${reason}, ${disposition === "DISCARD"},
            ${disposition === "PARK"})`,
      ),
    );
    if (ended.outcome === "unknown") return { kind: "unknown" };
    const row = only(
      await run(
        () => this.#sql<(WorkspaceRow & { passed_on: boolean })[]>`
          select w.*, w.state = 'PREPARING'
                 or exists (select from leases l where l.workspace_id = w.id and l.fence > ${String(key.fence)}) as passed_on
            from workspace_rows w where w.id = ${id}`,
      ),
    );
    return { kind: ended.outcome, workspace: toWorkspace(row), reason: ended.reason, passedOn: row.passed_on };
  }

  async expire(): Promise<number> {
    const row = only(
      await run(
        () => this.#sql<{ n: number }[]>`
          select expire_leases(${String(this.#identity.ownerId)}, ${this.#identity.hostId}, ${expireBatch}) as n`,
      ),
    );
    return row.n;
  }
}
