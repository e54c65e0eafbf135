/** Implements the port `WorkspaceStore` over migrations/0006_work.sql, 0011_verification.sql, 0027_disk.sql and 0031_failures.sql. */
import type { LeaseKey } from "../domain/lease.js";
import type { Verification } from "../domain/verification.js";
import { besidePattern } from "../domain/workspace-directory.js";
import type { Work, WorkResult, WorkspaceStore } from "../ports/workspace-store.js";
import { only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { workspaceName, workspaceNumber } from "./rows.js";

/** The name of the repository, the workspace's number, the fence, and what makes it one that work in progress uses. */
const place = `/([^/]+)/w([1-9][0-9]{0,17})(?:[.]([1-9][0-9]{0,17}))?(${besidePattern})?$`;

interface WorkRow {
  workspace: string;
  fence: string;
  repository_id: number;
  kind: "clean" | "verify" | "remove";
  path: string;
  /** JSON, since arrays are not parsed without the driver's type look-up. */
  candidates: string[];
  from_commit: string;
  from_head: string;
  lease_time: Date | null;
  guard_work: boolean;
  attempt: number;
  failures: number;
}

export class PostgresWork implements WorkspaceStore {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  async claimWork(known: readonly LeaseKey[], workspaceRoot: string, limit: number): Promise<readonly Work[]> {
    const ids = `{${known.map((key) => workspaceNumber(key.workspaceId) ?? "0").join(",")}}`;
    const rows = await run(
      () => this.#sql<WorkRow[]>`
        select workspace, fence, repository_id, kind, path, to_json(candidates) as candidates, from_commit, from_head,
               lease_time, guard_work, attempt, (select w.failures from workspaces w where w.id = workspace) as failures
          from claim_work(${String(this.#identity.ownerId)}, ${this.#identity.hostId}, ${ids}::bigint[], ${workspaceRoot}, ${limit})`,
    );
    return rows.map((row) => ({
      key: { workspaceId: workspaceName(row.workspace), fence: BigInt(row.fence) },
      repositoryId: row.repository_id,
      kind: row.kind,
      path: row.path,
      candidates: row.candidates,
      from: row.from_commit,
      head: row.from_head,
      ...(row.lease_time ? { leaseTimeMs: row.lease_time.getTime() } : {}),
      guardWork: row.guard_work,
      attempt: row.attempt,
      failures: row.failures,
    }));
  }

  async claimMissingIdle(workspaceRoot: string, limit: number): Promise<readonly Work[]> {
    const rows = await run(
      () => this.#sql<{ workspace: string; fence: string; repository_id: number; path: string }[]>`
        select * from claim_missing_idle(${String(this.#identity.ownerId)}, ${this.#identity.hostId}, ${workspaceRoot}, ${limit})`,
    );
    return rows.map((row) => ({
      key: { workspaceId: workspaceName(row.workspace), fence: BigInt(row.fence) },
      repositoryId: row.repository_id,
      kind: "make",
      path: row.path,
      candidates: [],
      from: "",
      head: "",
      guardWork: false,
      attempt: 1,
      failures: 0,
    }));
  }

  async moveIdle(repositoryId: number, commit: string): Promise<string | undefined> {
    const { workspace } = only(
      await run(
        () => this.#sql<{ workspace: string | null }[]>`
          select move_idle(${String(this.#identity.ownerId)}, ${this.#identity.hostId}, ${repositoryId}, ${commit}) as workspace`,
      ),
    );
    return workspace === null ? undefined : workspaceName(workspace);
  }

  async finishWork(key: LeaseKey, result: WorkResult): Promise<boolean> {
    if (result.kind === "failed" && result.lacksRoom) return this.#postpone(key, result.problem);
    const idle = result.kind === "idle" ? result : { commit: "", head: "", refsVersion: 0n };
    const path = result.kind === "quarantined" ? result.path : "";
    const problem = "problem" in result ? result.problem : "";
    const found = result.kind === "verified" ? foundBy(result.verification) : null;
    const row = only(
      await run(
        () => this.#sql<{ finished: boolean }[]>`
          select finish_work(${String(this.#identity.ownerId)}, ${workspaceNumber(key.workspaceId)}, ${String(key.fence)}, ${result.kind},
            ${idle.commit}, ${idle.head}, ${String(idle.refsVersion)}, ${path}, ${problem}, ${found && this.#sql.json(found)}) as finished`,
      ),
    );
    return row.finished;
  }

  async #postpone(key: LeaseKey, problem: string): Promise<boolean> {
    const row = only(
      await run(
        () => this.#sql<{ postponed: boolean }[]>`
          select postpone_work(${String(this.#identity.ownerId)}, ${workspaceNumber(key.workspaceId)}, ${String(key.fence)},
            ${problem}) as postponed`,
      ),
    );
    return row.postponed;
  }

  async reportStragglers(key: LeaseKey, detail: string): Promise<void> {
    await run(
      () => this.#sql`
        select report_stragglers(${String(this.#identity.ownerId)}, ${workspaceNumber(key.workspaceId)}, ${String(key.fence)}, ${detail})`,
    );
  }

  async leftovers(paths: readonly string[]): Promise<readonly string[]> {
    const rows = await run(
      () => this.#sql<{ path: string }[]>`
        select p.path from jsonb_array_elements_text(${this.#sql.json(paths as string[])}::jsonb) as p (path)
          cross join lateral regexp_match(p.path, ${place}::text) as m (parts)
          join workspaces w on w.id = m.parts[2]::bigint
          join repositories r on r.id = w.repository_id and r.name = m.parts[1]
         where w.host_id = ${this.#identity.hostId}
           -- no directory of ours had a fence that was not given yet
           and coalesce(m.parts[3]::bigint, 0) <= w.fence
           and (w.state = 'RETIRED' or (p.path <> w.path and p.path <> all (w.old_paths)))
           -- nobody has salvaged what is in it
           and not (w.state = 'RETIRED' and w.guard_work)
           -- beside a workspace that is being worked on, they may be in use
           and (m.parts[4] is null or w.state not in ('PREPARING', 'CLEANING'))`,
    );
    return rows.map((row) => row.path);
  }

  async keepHouse(retentionMs: number): Promise<void> {
    await run(() => this.#sql`select keep_house(make_interval(secs => ${retentionMs / 1000}::float8))`);
  }
}

function foundBy(verification: Verification): { findings: string[]; files: number } {
  return { findings: verification.kind === "differs" ? [...verification.findings] : [], files: verification.files };
}
