/** Implements the port `SalvageStore` over migrations/0009_salvage.sql. */
import { type LeaseEndReason, type LeaseKey, leaseId, parseLeaseId } from "../domain/lease.js";
import { type Salvage, type SavedWork, salvageIdOf, type WorkLeft } from "../domain/salvage.js";
import type { SalvageFilter, SalvagePage, SalvageRemoval, SalvageStore, WorkFate } from "../ports/salvage-store.js";
import { type Json, only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { workspaceName, workspaceNumber } from "./rows.js";

interface SalvageRow {
  id: string;
  workspace_id: string;
  repository: string;
  host: string;
  lease_id: string;
  holder: string;
  caller: string;
  reason: LeaseEndReason | null;
  base_commit: string;
  repository_path: string;
  ref: string;
  commit_id: string;
  files: string;
  commits: string;
  bytes: string;
  incomplete: string[];
  create_time: Date;
  expire_time: Date;
}

const expireBatch = 500;

export class PostgresSalvages implements SalvageStore {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  async workLeft(workspaceId: string): Promise<WorkLeft> {
    const id = workspaceNumber(workspaceId);
    const [row] = await run(
      () => this.#sql<{ fence: string; holder: string; caller: string; end_reason: LeaseEndReason | null }[]>`
        select l.fence, l.holder, l.caller, l.end_reason from last_lease(${id}) l where l.fence is not null`,
    );
    if (!row) return { salvageId: `s${id}.0`, leaseId: "", holder: "", caller: "" };
    const key = { workspaceId, fence: BigInt(row.fence) };
    const { holder, caller, end_reason: reason } = row;
    return { salvageId: salvageIdOf(key), leaseId: leaseId(key), holder, caller, ...(reason ? { reason } : {}) };
  }

  async settle(claim: LeaseKey, saved: SavedWork | undefined): Promise<boolean> {
    const json = saved === undefined ? null : this.#sql.json(saved as unknown as Json);
    const row = only(
      await run(
        () => this.#sql<{ settled: boolean }[]>`
          select settle_salvage(${String(this.#identity.ownerId)}, ${workspaceNumber(claim.workspaceId)}, ${String(claim.fence)},
            ${json}::jsonb) as settled`,
      ),
    );
    return row.settled;
  }

  async fateOf(lease: LeaseKey): Promise<WorkFate> {
    // in this order: what is settled in between is found
    const [row] = await run(
      () => this.#sql<{ pending: boolean }[]>`
        select w.guard_work and not exists (select from leases l where l.workspace_id = w.id and l.fence > ${String(lease.fence)}) as pending
          from workspaces w where w.id = ${workspaceNumber(lease.workspaceId)}`,
    );
    const salvage = await this.find(salvageIdOf(lease));
    if (salvage) return { kind: "saved", salvage };
    return { kind: row?.pending ? "pending" : "none" };
  }

  async ofCleaning(workspaceIds: readonly string[]): Promise<readonly Salvage[]> {
    const ids = `{${workspaceIds.flatMap((id) => workspaceNumber(id) ?? []).join(",")}}`;
    const rows = await run(
      () => this.#sql<SalvageRow[]>`
        select s.* from workspaces w cross join lateral last_lease(w.id) l
          join salvage_rows s on s.workspace_id = w.id and s.fence = l.fence
         where w.id = any (${ids}::bigint[]) and w.state = 'CLEANING'`,
    );
    return rows.map(toSalvage);
  }

  async find(salvageId: string): Promise<Salvage | undefined> {
    const [row] = await run(() => this.#sql<SalvageRow[]>`select * from salvage_rows where id = ${salvageId}`);
    return row && toSalvage(row);
  }

  async list(filter: SalvageFilter, after: string, limit: number): Promise<SalvagePage> {
    const { repository, host, holder, salvageId, caller } = filter;
    const key = filter.leaseId ? (parseLeaseId(filter.leaseId) ?? null) : undefined;
    const wantedId = key === undefined ? (salvageId ?? null) : key && salvageIdOf(key);
    const workspace = filter.workspaceId ? (workspaceNumber(filter.workspaceId) ?? "0") : null;
    const [, afterWorkspace = "0", afterFence = "0"] = /^s(\d{1,18})\.(\d{1,18})$/.exec(after) ?? [];
    // one that is no lease's id matches nothing
    const nothing = key === null || (salvageId !== undefined && salvageId !== "" && wantedId !== salvageId);
    const rows = await run(
      () => this.#sql<(SalvageRow & { newest_revision: string })[]>`
        select p.*, m.newest_revision from meta m left join lateral (
          select * from salvage_rows s
           where not ${nothing}::bool and (s.workspace_id, s.fence) > (${afterWorkspace}::bigint, ${afterFence}::bigint)
             and (${wantedId || null}::text is null or s.id = ${wantedId || null}::text)
             and (${workspace}::bigint is null or s.workspace_id = ${workspace}::bigint)
             and (${repository || null}::text is null or s.repository = ${repository || null}::text)
             and (${host || null}::text is null or s.host = ${host || null}::text)
             and (${holder || null}::text is null or s.holder = ${holder || null}::text)
             and (${caller ?? null}::text is null or s.caller = ${caller ?? null}::text)
           order by s.workspace_id, s.fence limit ${limit}) p on true`,
    );
    const salvages = rows.filter((row) => row.id !== null).map(toSalvage);
    return { salvages, revision: BigInt(only(rows).newest_revision) };
  }

  async discard(salvageId: string): Promise<boolean> {
    const row = only(
      await run(() => this.#sql<{ discarded: boolean }[]>`select discard_salvage(${salvageId}) as discarded`),
    );
    return row.discarded;
  }

  async expire(): Promise<number> {
    const row = only(
      await run(
        () => this.#sql<{ n: number }[]>`
          select expire_salvages(${String(this.#identity.ownerId)}, ${this.#identity.hostId}, ${expireBatch}) as n`,
      ),
    );
    return row.n;
  }

  async removals(limit: number): Promise<readonly SalvageRemoval[]> {
    const rows = await run(
      () => this.#sql<{ id: string; repository: string; ref: string }[]>`
        select s.id, s.repository, s.ref from salvages s
         where s.host_id = ${this.#identity.hostId} and s.removal is not null and not is_awaited(s.id)
         order by s.expire_time limit ${limit}`,
    );
    return rows.map(({ id, repository, ref }) => ({ salvageId: id, repository, ref }));
  }

  async removed(salvageId: string): Promise<void> {
    await run(() => this.#sql`delete from salvages where id = ${salvageId} and removal is not null`);
  }
}

function toSalvage(row: SalvageRow): Salvage {
  return {
    salvageId: row.id,
    repository: row.repository,
    host: row.host,
    leaseId: row.lease_id,
    workspaceId: workspaceName(row.workspace_id),
    holder: row.holder,
    caller: row.caller,
    ...(row.reason ? { reason: row.reason } : {}),
    baseCommit: row.base_commit,
    repositoryPath: row.repository_path,
    ref: row.ref,
    commit: row.commit_id,
    files: Number(row.files),
    commits: Number(row.commits),
    bytes: Number(row.bytes),
    incomplete: row.incomplete,
    createTime: row.create_time,
    expireTime: row.expire_time,
  };
}
