/** Implements the port `DependencyStore` over migrations/0012_dependencies.sql. */
import type { LeaseDependencies } from "../domain/dependencies.js";
import { type LeaseKey, leaseId } from "../domain/lease.js";
import type { DependencyStore, DependentLease } from "../ports/dependency-store.js";
import { type Json, only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { workspaceName, workspaceNumber } from "./rows.js";

interface DependentRow {
  workspace_id: string;
  fence: string;
  caller: string;
  commit_id: string;
  dependencies: LeaseDependencies;
}

export class PostgresDependencies implements DependencyStore {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  async offer(claim: LeaseKey, dependencies: LeaseDependencies): Promise<boolean> {
    const row = only(
      await run(
        () => this.#sql<{ stored: boolean }[]>`
          select offer_dependencies(${String(this.#identity.ownerId)}, ${workspaceNumber(claim.workspaceId)}, ${String(claim.fence)},
            ${this.#sql.json(dependencies as unknown as Json)}) as stored`,
      ),
    );
    return row.stored;
  }

  async living(key: LeaseKey): ReturnType<DependencyStore["living"]> {
    const [row] = await run(
      () => this.#sql<(DependentRow & { path: string; host: string; repository_id: number })[]>`
        select l.workspace_id, l.fence, l.caller, l.commit_id, l.dependencies, w.path, h.name as host, w.repository_id
          from leases l join workspaces w on w.id = l.workspace_id join hosts h on h.id = w.host_id
         where l.workspace_id = ${workspaceNumber(key.workspaceId)} and l.fence = ${String(key.fence)}
           and l.end_time is null and l.dependencies is not null`,
    );
    return row && { ...toDependent(row), path: row.path, host: row.host, repositoryId: row.repository_id };
  }

  async markInstalled({ workspaceId, fence }: LeaseKey): Promise<void> {
    await run(() => this.#sql`select mark_dependencies(${workspaceNumber(workspaceId)}, ${String(fence)})`);
  }

  async beginKeeping({ workspaceId, fence }: LeaseKey): Promise<DependentLease | undefined> {
    const [row] = await run(
      () => this.#sql<DependentRow[]>`
        select workspace_id, fence, caller, commit_id, dependencies
          from begin_keeping(${String(this.#identity.ownerId)}, ${workspaceNumber(workspaceId)}, ${String(fence)})`,
    );
    return row && toDependent(row);
  }

  async settle({ workspaceId, fence }: LeaseKey): Promise<void> {
    await run(
      () => this.#sql`
        select settle_dependencies(${String(this.#identity.ownerId)}, ${workspaceNumber(workspaceId)}, ${String(fence)})`,
    );
  }

  async pending(): Promise<readonly string[]> {
    const rows = await run(
      () => this.#sql<{ workspace_id: string; fence: string }[]>`
        select l.workspace_id, l.fence from leases l join workspaces w on w.id = l.workspace_id
         where not l.dependencies_settled and w.host_id = ${this.#identity.hostId}
        union
        select w.id, w.fence from workspaces w
         where w.host_id = ${this.#identity.hostId} and w.state = 'PREPARING' and w.worker = ${String(this.#identity.ownerId)}`,
    );
    return rows.map(({ workspace_id, fence }) =>
      leaseId({ workspaceId: workspaceName(workspace_id), fence: BigInt(fence) }),
    );
  }

  async cachesInUse(repositoryId: number): Promise<readonly string[]> {
    const rows = await run(
      () => this.#sql<{ path: string }[]>`
        select distinct l.dependencies ->> 'cachePath' as path from leases l join workspaces w on w.id = l.workspace_id
         where not l.dependencies_settled and l.end_time is null and w.host_id = ${this.#identity.hostId}
           and w.repository_id = ${repositoryId}`,
    );
    return rows.map(({ path }) => path);
  }
}

function toDependent(row: DependentRow): DependentLease {
  return {
    key: { workspaceId: workspaceName(row.workspace_id), fence: BigInt(row.fence) },
    caller: row.caller,
    commit: row.commit_id,
    dependencies: row.dependencies,
  };
}
