/** Implements the port `RepositoryStore` over migrations/0007_repositories.sql, 0011_verification.sql, 0025_repository_life.sql and 0030_upstreams.sql. */
import { createHash } from "node:crypto";
import {
  type Mirror,
  type MirrorProgress,
  type Repository,
  type RepositoryOverview,
  type RepositorySettings,
  repositoryNamePattern,
} from "../domain/repository.js";
import type { MirrorUpdate, RegisterOutcome, RepositoryStore, StandsAgainst } from "../ports/repository-store.js";
import { only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { type RepositoryRow, toRepository } from "./rows.js";

interface MirrorRow {
  mirror_state: Mirror["state"] | null;
  problem: string;
  default_branch: string;
  refs_version: string;
  fetch_time: Date | null;
  fetch_age_ms: number | null;
  received_objects: string;
  total_objects: string;
  received_bytes: string;
}

interface SizesRow {
  bytes: string;
  mirror_bytes: string | null;
}

interface CountRow {
  preparing: number;
  idle: number;
  leased: number;
  cleaning: number;
  quarantined: number;
  parked: number;
}

export class PostgresRepositories implements RepositoryStore {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  async register(name: string, settings: RepositorySettings): Promise<RegisterOutcome> {
    const wanted = name || derivedName(settings.url);
    const digest = createHash("sha256").update(settings.url).digest("hex").slice(0, 8);
    const fallback = `${wanted.slice(0, 54)}-${digest}`;
    const row = only(
      await run(
        () => this.#sql<{ outcome: "registered" | "same" | "differs"; repository: number }[]>`
          select outcome, repository from register_repository(${wanted}, ${fallback},
            ${this.#sql.json(toColumns(settings))}, ${name !== ""})`,
      ),
    );
    const repository = await this.byId(row.repository);
    if (!repository) return this.register(name, settings);
    return row.outcome === "differs" ? { kind: "differs", existing: repository } : { kind: row.outcome, repository };
  }

  async byName(name: string): Promise<Repository | undefined> {
    const [row] = await run(() => this.#sql<RepositoryRow[]>`select * from repositories where name = ${name}`);
    return row && toRepository(row);
  }

  async byUrl(url: string): Promise<Repository | undefined> {
    const [row] = await run(() => this.#sql<RepositoryRow[]>`select * from repositories where url = ${url}`);
    return row && toRepository(row);
  }

  async byId(id: number): Promise<Repository | undefined> {
    const [row] = await run(() => this.#sql<RepositoryRow[]>`select * from repositories where id = ${id}`);
    return row && toRepository(row);
  }

  async update(name: string, changes: Partial<RepositorySettings>): Promise<Repository | undefined> {
    const [row] = await run(
      () => this.#sql<RepositoryRow[]>`
        with moved as (
          update mirrors m set digest = '', refs_version = m.refs_version + 1, fetch_time = null
            from repositories r where r.id = m.repository_id and r.name = ${name} and r.url <> ${changes.url ?? null}::text
        )
        update repositories set
          url = coalesce(${changes.url ?? null}::text, url),
          min_idle = coalesce(${changes.minIdle ?? null}::int, min_idle),
          max_workspaces = coalesce(${changes.maxWorkspaces ?? null}::int, max_workspaces),
          stable_path = coalesce(${changes.stablePath ?? null}::bool, stable_path),
          credential = coalesce(${changes.credential ?? null}::text, credential),
          labels = case when ${changes.labels !== undefined}::bool then ${this.#sql.json(changes.labels ?? {})}::jsonb else labels end,
          paused = coalesce(${changes.paused ?? null}::bool, paused),
          salvage_ttl_ms = coalesce(${changes.salvageTtlMs ?? null}::bigint, salvage_ttl_ms),
          object_storage = coalesce(${changes.objectStorage ?? null}::text, object_storage),
          kill_stragglers = coalesce(${changes.killStragglers ?? null}::bool, kill_stragglers),
          salvage_ignored = case when ${changes.salvageIgnored !== undefined}::bool
                                 then ${this.#sql.json([...(changes.salvageIgnored ?? [])])}::jsonb else salvage_ignored end,
          share_dependencies = coalesce(${changes.shareDependencies ?? null}::bool, share_dependencies),
          idle_ttl_ms = coalesce(${changes.idleTtlMs ?? null}::bigint, idle_ttl_ms)
         where name = ${name} returning *`,
    );
    return row && toRepository(row);
  }

  async list(
    after: string,
    limit: number,
    labels: Readonly<Record<string, string>>,
    name?: string,
  ): Promise<readonly RepositoryOverview[]> {
    const rows = await run(
      () => this.#sql<(RepositoryRow & MirrorRow & CountRow & SizesRow)[]>`
        select r.*, m.state as mirror_state, m.problem, m.default_branch, m.refs_version, m.fetch_time,
               (extract(epoch from clock_timestamp() - m.fetch_time) * 1000)::float8 as fetch_age_ms,
               m.received_objects, m.total_objects, m.received_bytes, c.*, z.bytes, p.bytes as mirror_bytes
          from repositories r
          left join lateral (select * from mirrors x where x.repository_id = r.id
                              order by x.host_id = ${this.#identity.hostId} desc, x.fetch_time desc nulls last limit 1) m on true
          cross join lateral (
            select count(*) filter (where w.state = 'PREPARING')::int as preparing, count(*) filter (where w.state = 'IDLE')::int as idle,
                   count(*) filter (where w.state = 'LEASED')::int as leased, count(*) filter (where w.state = 'CLEANING')::int as cleaning,
                   count(*) filter (where w.state = 'QUARANTINED')::int as quarantined,
                   count(*) filter (where w.state = 'PARKED')::int as parked
              from workspaces w where w.repository_id = r.id and w.state <> 'RETIRED') c
          left join place_sizes p on p.host_id = m.host_id and p.kind = 'MIRROR' and p.repository = r.name
          join repository_sizes z on z.repository_id = r.id
         where r.name > ${after} and (${name || null}::text is null or r.name = ${name || null}::text)
           and r.labels @> ${this.#sql.json(labels)}::jsonb
         order by r.name limit ${limit}`,
    );
    return rows.map((row) => {
      const { preparing, idle, leased, cleaning, quarantined, parked } = row;
      const mirror = toMirror(row);
      const counts = { preparing, idle, leased, cleaning, quarantined, parked };
      const mirrorBytes = row.mirror_bytes === null ? {} : { mirrorBytes: Number(row.mirror_bytes) };
      const bytes = Number(row.bytes);
      return { repository: toRepository(row), counts, bytes, ...mirrorBytes, ...(mirror ? { mirror } : {}) };
    });
  }

  async remove(name: string, force: boolean): ReturnType<RepositoryStore["remove"]> {
    const row = only(
      await run(
        () => this.#sql<({ outcome: "removing" | "unknown" | "in-use" } & StandsAgainst)[]>`
          select * from remove_repository(${name}, ${force})`,
      ),
    );
    const { outcome, leases, quarantined, salvages } = row;
    return outcome === "in-use" ? { kind: outcome, leases, quarantined, salvages } : { kind: outcome };
  }

  async removable(): Promise<readonly string[]> {
    const rows = await run(() => this.#sql<{ name: string }[]>`select name from removable_repositories() as name`);
    return rows.map((row) => row.name);
  }

  async finishRemovals(names: readonly string[]): Promise<readonly string[]> {
    const ready = `{${names.join(",")}}`;
    const rows = await run(
      () => this.#sql<{ name: string }[]>`select name from finish_removals(${ready}::text[]) as name`,
    );
    return rows.map((row) => row.name);
  }

  async mirror(repositoryId: number): Promise<Mirror | undefined> {
    const [row] = await run(
      () => this.#sql<MirrorRow[]>`
        select state as mirror_state, problem, default_branch, refs_version, fetch_time,
               (extract(epoch from clock_timestamp() - fetch_time) * 1000)::float8 as fetch_age_ms,
               received_objects, total_objects, received_bytes
          from mirrors where repository_id = ${repositoryId} and host_id = ${this.#identity.hostId}`,
    );
    return row && toMirror(row);
  }

  async updateMirror(repositoryId: number, update: MirrorUpdate): Promise<Mirror> {
    const ago = update.fetchedMsAgo === undefined ? null : update.fetchedMsAgo / 1000;
    await run(
      () => this.#sql`
        select update_mirror(${repositoryId}, ${this.#identity.hostId}, ${update.state}, ${update.problem}, ${update.defaultBranch},
          ${update.digest}, make_interval(secs => ${ago}::float8), ${update.url ?? null})`,
    );
    const mirror = await this.mirror(repositoryId);
    if (!mirror) throw new Error(`repository ${repositoryId} was removed while its mirror was updated`);
    return mirror;
  }

  async noteProblem(repositoryId: number, problem: string): Promise<void> {
    await run(
      () => this.#sql`
        update mirrors set problem = ${problem}
         where repository_id = ${repositoryId} and host_id = ${this.#identity.hostId} and state = 'READY' and problem <> ${problem}`,
    );
  }

  async reportProgress(repositoryId: number, progress: MirrorProgress): Promise<void> {
    await run(
      () => this.#sql`
        select report_progress(${repositoryId}, ${this.#identity.hostId}, ${progress.receivedObjects}, ${progress.totalObjects},
          ${progress.receivedBytes})`,
    );
  }

  async dueMirrors(limit: number): Promise<readonly Repository[]> {
    const rows = await run(
      () => this.#sql<RepositoryRow[]>`
        select r.* from repositories r
          left join mirrors m on m.repository_id = r.id and m.host_id = ${this.#identity.hostId}
         where not r.removing and coalesce(m.state, '') <> 'READY' and (m.retry_time is null or m.retry_time < clock_timestamp())
           -- other hosts make a mirror when they need one
           and (m.state is not null or not exists (select from mirrors x where x.repository_id = r.id))
         order by r.id limit ${limit}`,
    );
    return rows.map(toRepository);
  }
}

/** The URL's last path segment, without `.git`, made to fit the pattern of names. */
function derivedName(url: string): string {
  const segment =
    url
      .replace(/[/\\]+$/, "")
      .replace(/(\/\.git|\.git)$/, "")
      .split(/[/:\\]/)
      .at(-1) ?? "";
  const name = segment
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[^a-z0-9]+/, "")
    .slice(0, 63);
  return repositoryNamePattern.test(name) ? name : "repository";
}

function toMirror(row: MirrorRow): Mirror | undefined {
  if (row.mirror_state === null) return undefined;
  const receivedObjects = Number(row.received_objects);
  return {
    state: row.mirror_state,
    problem: row.problem,
    defaultBranch: row.default_branch,
    refsVersion: BigInt(row.refs_version),
    ...(row.fetch_time ? { fetchTime: row.fetch_time } : {}),
    ...(row.fetch_age_ms === null ? {} : { fetchAgeMs: row.fetch_age_ms }),
    ...(receivedObjects > 0
      ? {
          progress: {
            receivedObjects,
            totalObjects: Number(row.total_objects),
            receivedBytes: Number(row.received_bytes),
          },
        }
      : {}),
  };
}

function toColumns(settings: RepositorySettings) {
  return {
    url: settings.url,
    min_idle: settings.minIdle,
    max_workspaces: settings.maxWorkspaces,
    stable_path: settings.stablePath,
    credential: settings.credential,
    labels: { ...settings.labels },
    paused: settings.paused,
    salvage_ttl_ms: settings.salvageTtlMs,
    object_storage: settings.objectStorage,
    kill_stragglers: settings.killStragglers,
    salvage_ignored: [...settings.salvageIgnored],
    share_dependencies: settings.shareDependencies,
    idle_ttl_ms: settings.idleTtlMs,
  };
}
