/** Implements the port's lists of workspaces, Reclaim and Reset. Every workspace is its own transaction. */
import { leaseId, parseLeaseId } from "../domain/lease.js";
import type { Workspace, WorkspaceResult } from "../domain/workspace.js";
import type {
  ReclaimSelector,
  ResetSelector,
  VerificationStart,
  WorkspaceFilter,
  WorkspacePage,
  WorkspacePool,
} from "../ports/lease-store.js";
import { only, run, type Sql } from "./client.js";
import type { PostgresLeases } from "./leases.js";
import { type LeaseRow, toLease, toWorkspace, type WorkspaceRow, workspaceName, workspaceNumber } from "./rows.js";

interface Found {
  readonly findings: readonly string[];
  readonly files: number;
}

type Row = WorkspaceRow & Partial<LeaseRow> & { newest_revision: string };

export class PostgresWorkspaces implements WorkspacePool {
  readonly #sql: Sql;
  readonly #leases: PostgresLeases;

  constructor(sql: Sql, leases: PostgresLeases) {
    this.#sql = sql;
    this.#leases = leases;
  }

  async list(filter: WorkspaceFilter, after: string, limit: number): Promise<WorkspacePage> {
    const key = filter.leaseId ? parseLeaseId(filter.leaseId) : undefined;
    if (filter.leaseId && !key) return { workspaces: [], revision: await this.#newestRevision() };
    const wanted = key?.workspaceId ?? filter.workspaceId;
    const workspace = wanted ? (workspaceNumber(wanted) ?? "0") : null;
    const rows = await run(
      () => this.#sql<Row[]>`
        select p.*, m.newest_revision from meta m left join lateral (
          select w.*, l.*, z.bytes as size_bytes, z.measure_time as size_time from workspace_rows w
            left join workspace_sizes z on z.workspace_id = w.id
            left join lease_rows l on l.lease_workspace = w.id and l.end_time is null
           where w.state <> 'RETIRED' and w.id > ${workspaceNumber(after) ?? "0"}::bigint
             and (${workspace}::bigint is null or w.id = ${workspace}::bigint)
             and (${filter.repository || null}::text is null or w.repository = ${filter.repository || null}::text)
             and (${filter.host || null}::text is null or w.host = ${filter.host || null}::text)
             and (${filter.holder || null}::text is null or l.holder = ${filter.holder || null}::text)
             and (${filter.caller ?? null}::text is null or coalesce(l.caller, w.bound_caller) = ${filter.caller ?? null}::text)
             and (${filter.binding || null}::text is null or w.binding = ${filter.binding || null}::text)
             and (${filter.subject || null}::text is null or w.id in (select x.id from workspaces x
                   where x.subject ->> 'url' in (${filter.subject || null}::text, lower(${filter.subject || null}::text)) and x.subject is not null and x.state in ('LEASED', 'PARKED')))
             and (${key ? String(key.fence) : null}::bigint is null or l.lease_fence = ${key ? String(key.fence) : null}::bigint)
             and (${this.#sql.json(filter.labels ?? {})}::jsonb = '{}' or l.labels @> ${this.#sql.json(filter.labels ?? {})}::jsonb)
             and (${filter.states?.length ? `{${filter.states.join(",")}}` : null}::text[] is null
                  or w.state = any (${filter.states?.length ? `{${filter.states.join(",")}}` : null}::text[]))
           order by w.id limit ${limit}) p on true`,
    );
    const revision = BigInt(only(rows).newest_revision);
    return { workspaces: rows.filter((row) => row.id !== null).map(toListed), revision };
  }

  async get(id: string): Promise<Workspace | undefined> {
    const rows = await run(
      () => this.#sql<Row[]>`
        select w.*, l.*, z.bytes as size_bytes, z.measure_time as size_time from workspace_rows w
          left join workspace_sizes z on z.workspace_id = w.id
          left join lease_rows l on l.lease_workspace = w.id and l.end_time is null
         where w.id = ${workspaceNumber(id)}`,
    );
    return rows[0] && toListed(rows[0]);
  }

  async beginVerification(id: string): Promise<VerificationStart> {
    const row = only(
      await run(
        () => this.#sql<{ outcome: VerificationStart["kind"]; begun: string | null }[]>`
          select * from begin_verification(${workspaceNumber(id)})`,
      ),
    );
    return row.outcome === "begun" ? { kind: "begun", fence: BigInt(row.begun ?? 0) } : { kind: row.outcome };
  }

  async verification(id: string, fence: bigint): ReturnType<WorkspacePool["verification"]> {
    const { outcome, result } = only(
      await run(
        () => this.#sql<{ outcome: "known" | "pending" | "lost"; result: Found | null }[]>`
          select * from read_verification(${workspaceNumber(id)}, ${String(fence)})`,
      ),
    );
    if (outcome !== "known" || !result) return { kind: outcome === "pending" ? "pending" : "lost" };
    const { findings, files } = result;
    return {
      kind: "known",
      verification: findings.length === 0 ? { kind: "pristine", files } : { kind: "differs", findings, files },
    };
  }

  async reclaim(selector: ReclaimSelector): Promise<readonly WorkspaceResult[]> {
    const results: WorkspaceResult[] = [];
    for (const name of selector.leaseIds) results.push(await this.#reclaimLease(name, selector));
    for (const { id, fence } of await this.#reclaimable(selector)) {
      results.push(await this.#reclaimWorkspace(id, selector.dryRun, fence));
    }
    return results;
  }

  async reset(selector: ResetSelector): Promise<readonly WorkspaceResult[]> {
    const ids = selector.workspaceId
      ? [selector.workspaceId]
      : (
          await run(
            () => this.#sql<{ id: string }[]>`
              select id from workspace_rows where repository = ${selector.repository ?? null} and state <> 'RETIRED'
                 and (${selector.binding ?? null}::text is null or binding = ${selector.binding ?? null}::text) order by id`,
          )
        ).map((row) => workspaceName(row.id));
    const results: WorkspaceResult[] = [];
    for (const id of ids) results.push(await this.#resetWorkspace(id, selector));
    const { repository, binding, expectedFence } = selector;
    if (repository && binding !== undefined && expectedFence === undefined) {
      await run(() => this.#sql`select reset_lost_sessions(${repository}, ${binding})`);
    }
    return results;
  }

  async #resetWorkspace(id: string, selector: ResetSelector): Promise<WorkspaceResult> {
    const { force, abandonWork } = selector;
    const expected = selector.expectedFence === undefined ? null : String(selector.expectedFence);
    const { outcome } = only(
      await run(
        () => this.#sql<{ outcome: "reset" | "ended" | "live" | "mismatch" | "unknown" }[]>`
          select case when ${selector.binding !== undefined}::bool
                      then reset_bound_workspace(${workspaceNumber(id)}, ${expected}, ${force}, ${abandonWork})
                      else reset_workspace(${workspaceNumber(id)}, ${expected}, ${force}, ${abandonWork}) end as outcome`,
      ),
    );
    if (outcome === "live") return this.#result(id, "NONE", "LEASE_LIVE");
    if (outcome === "mismatch") return this.#result(id, "NONE", "FENCE_MISMATCH");
    if (outcome === "unknown") return this.#result(id, "NONE", "WORKSPACE_NOT_FOUND");
    return this.#result(id, outcome === "ended" ? "LEASE_ENDED" : "RESET", "");
  }

  async #reclaimLease(name: string, selector: ReclaimSelector): Promise<WorkspaceResult> {
    const key = parseLeaseId(name);
    const workspace = key && (await this.get(key.workspaceId));
    const wanted =
      workspace &&
      (!selector.repository || workspace.repository === selector.repository) &&
      (!selector.host || workspace.host === selector.host);
    if (!key || !wanted) return this.#result(key?.workspaceId ?? name, "NONE", "WORKSPACE_NOT_FOUND");
    if (!workspace.lease || leaseId(workspace.lease) !== name)
      return this.#result(key.workspaceId, "NONE", "LEASE_LOST");
    if (!selector.dryRun) {
      const ended = await this.#leases.end(key, "RECLAIMED", "CLEAN");
      if (ended.kind !== "ended") return this.#result(key.workspaceId, "NONE", "LEASE_LOST");
    }
    return this.#result(key.workspaceId, "LEASE_ENDED", "");
  }

  /** `fence`: as it was when the workspace was chosen for what it was then. */
  async #reclaimWorkspace(id: string, dryRun: boolean, fence: bigint | undefined): Promise<WorkspaceResult> {
    const workspace = await this.get(id);
    if (!workspace || workspace.state === "RETIRED") return this.#result(id, "NONE", "WORKSPACE_NOT_FOUND");
    if (dryRun) {
      if (workspace.state === "LEASED") return this.#result(id, "NONE", "LEASE_LIVE");
      if (workspace.state === "PREPARING") return this.#result(id, "NONE", "FENCE_MISMATCH");
      return this.#result(id, "REMOVED", "");
    }
    const { outcome } = only(
      await run(
        () => this.#sql<{ outcome: "removed" | "leased" | "busy" | "unknown" }[]>`
          select case when ${fence === undefined}::bool then reclaim_workspace(${workspaceNumber(id)})
                      else reclaim_chosen(${workspaceNumber(id)}, ${String(fence ?? 0n)}) end as outcome`,
      ),
    );
    if (outcome === "leased") return this.#result(id, "NONE", "LEASE_LIVE");
    if (outcome === "busy") return this.#result(id, "NONE", "FENCE_MISMATCH");
    if (outcome === "unknown") return this.#result(id, "NONE", "WORKSPACE_NOT_FOUND");
    return this.#result(id, "REMOVED", "");
  }

  /** The named workspaces, or else the idle ones that the other selectors leave. */
  async #reclaimable(selector: ReclaimSelector): Promise<readonly { readonly id: string; readonly fence?: bigint }[]> {
    const { repository, host, olderThanMs, includeParked, workspaceIds } = selector;
    if (selector.leaseIds.length > 0 && workspaceIds.length === 0) return [];
    if (workspaceIds.length === 0) {
      const rows = await run(
        () => this.#sql<{ id: string; fence: string }[]>`
          select id, fence from workspace_rows
           where (state = 'IDLE' or (state = 'PARKED' and ${includeParked}::bool)) and (${repository || null}::text is null or repository = ${repository || null}::text)
             and (${host || null}::text is null or host = ${host || null}::text)
             and idle_time <= clock_timestamp() - make_interval(secs => ${(olderThanMs ?? 0) / 1000}::float8)
           order by id`,
      );
      return rows.map((row) => ({ id: workspaceName(row.id), fence: BigInt(row.fence) }));
    }
    const narrowed: { readonly id: string }[] = [];
    for (const id of workspaceIds) {
      const workspace = repository || host ? await this.get(id) : undefined;
      const other =
        workspace && ((repository && workspace.repository !== repository) || (host && workspace.host !== host));
      if (!other) narrowed.push({ id });
    }
    return narrowed;
  }

  async #result(id: string, action: WorkspaceResult["action"], reason: string): Promise<WorkspaceResult> {
    const workspace = await this.get(id);
    return { workspaceId: id, action, reason, ...(workspace ? { workspace } : {}) };
  }

  async #newestRevision(): Promise<bigint> {
    return BigInt(only(await run(() => this.#sql<{ r: string }[]>`select newest_revision as r from meta`)).r);
  }
}

function toListed(row: Row): Workspace {
  return toWorkspace(row, row.lease_workspace ? toLease(row as Row & LeaseRow) : undefined);
}
