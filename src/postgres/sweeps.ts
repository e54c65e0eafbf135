/** Implements the port `SweepStore` over migrations/0020_subjects.sql, 0021_sweeps.sql and 0022_idle_ttl.sql. */
import type { LeaseKey } from "../domain/lease.js";
import type { Subject } from "../domain/subject.js";
import type { SweepReport } from "../domain/sweep.js";
import type { FoundDirectory, SweepCandidate, SweepLimits, SweepStore } from "../ports/sweep-store.js";
import { type Json, only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { workspaceName, workspaceNumber } from "./rows.js";
import { sessionName, sessionNumber } from "./session-rows.js";

interface EntryRow {
  kind: "SESSION" | "WORKSPACE";
  id: string;
  workspace: string | null;
  fence: string;
  repository: string;
  subject: Subject | null;
  due: SweepCandidate["due"];
  ripe: boolean;
}

/** As it is stored: times of JSON are texts. */
type StoredReport = Omit<SweepReport, "startTime" | "endTime"> & { startTime: string; endTime: string };

export class PostgresSweeps implements SweepStore {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  async begin(dryRun: boolean): ReturnType<SweepStore["begin"]> {
    const row = only(
      await run(
        () => this.#sql<{ outcome: "begun" | "running"; sweep: string; of_dry_run: boolean }[]>`
          select * from begin_sweep(${String(this.#identity.deskId)}, ${dryRun})`,
      ),
    );
    return { kind: row.outcome, sweepId: BigInt(row.sweep), dryRun: row.of_dry_run };
  }

  async keep(sweepId: bigint): Promise<boolean> {
    return only(await run(() => this.#sql<{ kept: boolean }[]>`select keep_sweep(${String(sweepId)}) as kept`)).kept;
  }

  async finish(sweepId: bigint, report: SweepReport | undefined, retentionMs: number): Promise<boolean> {
    const stored = report ? this.#sql.json(report as unknown as Json) : null;
    const rows = await run(
      () => this.#sql<{ finished: boolean }[]>`
        select finish_sweep(${String(sweepId)}, ${stored}, ${seconds(retentionMs)}) as finished`,
    );
    return only(rows).finished;
  }

  async outcome(sweepId: bigint): ReturnType<SweepStore["outcome"]> {
    const [row] = await run(
      () => this.#sql<{ ended: boolean; report: StoredReport | null }[]>`
        select end_time is not null or seen_time < clock_timestamp() - interval '10 seconds' as ended, report
          from sweeps where id = ${String(sweepId)}`,
    );
    if (!row) return {};
    if (!row.ended) return undefined;
    return row.report ? { report: toReport(row.report) } : {};
  }

  async last(): ReturnType<SweepStore["last"]> {
    const [row] = await run(
      () => this.#sql<{ id: string; report: StoredReport; ago: number }[]>`
        select id, report || '{"entries": []}' as report, (extract(epoch from clock_timestamp() - start_time) * 1000)::float8 as ago
          from sweeps where report is not null and not dry_run order by id desc limit 1`,
    );
    return row && { sweepId: BigInt(row.id), report: toReport(row.report), startedMsAgo: row.ago };
  }

  async entries({ maxAgeMs, orphanAgeMs, graceMs }: SweepLimits): Promise<readonly SweepCandidate[]> {
    const rows = await run(
      () => this.#sql<EntryRow[]>`
        select * from sweep_entries(${seconds(maxAgeMs)}, ${seconds(orphanAgeMs)}, ${seconds(graceMs)})`,
    );
    return rows.map((row) => {
      const { repository, due, ripe } = row;
      const rest = { repository, due, ripe, ...(row.subject ? { subject: row.subject } : {}) };
      const workspaceId = row.workspace === null ? "" : workspaceName(row.workspace);
      return row.kind === "SESSION"
        ? { kind: "SESSION", sessionId: sessionName(row.id), workspaceId, ...rest }
        : { kind: "WORKSPACE", key: toKey(row.id, row.fence), ...rest };
    });
  }

  async note(
    url: string,
    state: "OPEN" | "CLOSED" | "MERGED",
    graceMs: number,
    recheck: boolean,
  ): ReturnType<SweepStore["note"]> {
    const rows = await run(
      () => this.#sql<{ outcome: Awaited<ReturnType<SweepStore["note"]>> }[]>`
        select note_subject(${url}, ${state}, ${seconds(graceMs)}, ${recheck}) as outcome`,
    );
    return only(rows).outcome;
  }

  async sessionsAbout(url: string): Promise<readonly string[]> {
    const rows = await run(
      () => this.#sql<{ id: string }[]>`
        select id from sessions where subject ->> 'url' = ${url} and subject is not null and state <> 'CLOSED' order by id`,
    );
    return rows.map(({ id }) => sessionName(id));
  }

  async claimRechecks(graceMs: number, limit: number): Promise<readonly Subject[]> {
    const rows = await run(
      () => this.#sql<{ subject: Subject }[]>`select claim_rechecks(${seconds(graceMs)}, ${limit}) as subject`,
    );
    return rows.map(({ subject }) => subject);
  }

  async dropSession(
    sessionId: string,
    reason: "SUBJECT_CLOSED" | "MAX_AGE",
    { graceMs, maxAgeMs }: SweepLimits,
  ): ReturnType<SweepStore["dropSession"]> {
    const row = only(
      await run(
        () => this.#sql<{ outcome: "dropped" | "gone" | "kept" | "live" | "busy"; given_up: string | null }[]>`
          select * from drop_session(${sessionNumber(sessionId)}, ${reason}, ${seconds(graceMs)}, ${seconds(maxAgeMs)})`,
      ),
    );
    return { kind: row.outcome, workspaceId: row.given_up === null ? "" : workspaceName(row.given_up) };
  }

  async dropParked({ workspaceId, fence }: LeaseKey, any: boolean, why: string): Promise<boolean> {
    const rows = await run(
      () => this.#sql<{ dropped: boolean }[]>`
        select drop_parked(${workspaceNumber(workspaceId)}, ${String(fence)}, ${any}, ${why}) as dropped`,
    );
    return only(rows).dropped;
  }

  async parkedOfBranch(repository: string, branch: string): ReturnType<SweepStore["parkedOfBranch"]> {
    const rows = await run(
      () => this.#sql<{ workspace: string; fence: string; subject: Subject | null }[]>`
        select * from parked_of_branch(${repository}, ${branch})`,
    );
    return rows.map(({ workspace, fence, subject }) => ({
      key: toKey(workspace, fence),
      ...(subject ? { subject } : {}),
    }));
  }

  async retireIdle(limit: number): Promise<number> {
    const { ownerId, hostId } = this.#identity;
    const rows = await run(
      () => this.#sql<{ n: number }[]>`select retire_idle(${String(ownerId)}, ${hostId}, ${limit}) as n`,
    );
    return only(rows).n;
  }

  async adopt({ path, repository, key, marked }: FoundDirectory): Promise<"known" | "adopted" | "foreign"> {
    const { ownerId, hostId } = this.#identity;
    const rows = await run(
      () => this.#sql<{ outcome: "known" | "adopted" | "foreign" }[]>`
        select adopt_directory(${String(ownerId)}, ${hostId}, ${repository}, ${workspaceNumber(key.workspaceId)},
          ${String(key.fence)}, ${path}, ${marked}) as outcome`,
    );
    return only(rows).outcome;
  }
}

function toKey(workspace: string, fence: string): LeaseKey {
  return { workspaceId: workspaceName(workspace), fence: BigInt(fence) };
}

function toReport(stored: StoredReport): SweepReport {
  return { ...stored, startTime: new Date(stored.startTime), endTime: new Date(stored.endTime) };
}

/** An interval's text. */
function seconds(ms: number): string {
  return `${ms / 1000} seconds`;
}
