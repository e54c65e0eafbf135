/** Implements the port `WorkspaceStore` over migrations/0006_work.sql. */
import type { LeaseKey } from "../domain/lease.js";
import type { Work, WorkResult, WorkspaceStore } from "../ports/workspace-store.js";
import { only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { workspaceName, workspaceNumber } from "./rows.js";

interface WorkRow {
  workspace: string;
  fence: string;
  repository_id: number;
  kind: "clean" | "remove";
  path: string;
  /** JSON, since arrays are not parsed without the driver's type look-up. */
  candidates: string[];
  from_commit: string;
  guard_work: boolean;
  attempt: number;
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
        select workspace, fence, repository_id, kind, path, to_json(candidates) as candidates, from_commit, guard_work, attempt
          from claim_work(${String(this.#identity.ownerId)}, ${this.#identity.hostId}, ${ids}::bigint[], ${workspaceRoot}, ${limit})`,
    );
    return rows.map((row) => ({
      key: { workspaceId: workspaceName(row.workspace), fence: BigInt(row.fence) },
      repositoryId: row.repository_id,
      kind: row.kind,
      path: row.path,
      candidates: row.candidates,
      from: row.from_commit,
      guardWork: row.guard_work,
      attempt: row.attempt,
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
      guardWork: false,
      attempt: 1,
    }));
  }

  async finishWork(key: LeaseKey, result: WorkResult): Promise<boolean> {
    const idle = result.kind === "idle" ? result : { commit: "", head: "", refsVersion: 0n };
    const path = result.kind === "quarantined" ? result.path : "";
    const problem = "problem" in result ? result.problem : "";
    const row = only(
      await run(
        () => this.#sql<{ finished: boolean }[]>`
          select finish_work(${String(this.#identity.ownerId)}, ${workspaceNumber(key.workspaceId)}, ${String(key.fence)}, ${result.kind},
            ${idle.commit}, ${idle.head}, ${String(idle.refsVersion)}, ${path}, ${problem}) as finished`,
      ),
    );
    return row.finished;
  }

  async leftovers(paths: readonly string[]): Promise<readonly string[]> {
    const rows = await run(
      () => this.#sql<{ path: string }[]>`
        select p.path from jsonb_array_elements_text(${this.#sql.json(paths as string[])}::jsonb) as p (path)
          cross join lateral regexp_match(p.path, '/w([1-9][0-9]{0,17})(?:[.][0-9]+)?([.](?:git-new|git-old|aside|guard))?$') as m (parts)
          join workspaces w on w.id = m.parts[1]::bigint
         where w.host_id = ${this.#identity.hostId}
           and (w.state = 'RETIRED' or (p.path <> w.path and p.path <> all (w.old_paths)))
           -- beside a workspace that is being worked on, they may be in use
           and (m.parts[2] is null or w.state not in ('PREPARING', 'CLEANING'))`,
    );
    return rows.map((row) => row.path);
  }

  async keepHouse(retentionMs: number): Promise<void> {
    await run(() => this.#sql`select keep_house(make_interval(secs => ${retentionMs / 1000}::float8))`);
  }
}
