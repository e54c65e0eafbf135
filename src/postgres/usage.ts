/** Implements the port `UsageStore` over migrations/0026_usage.sql. */
import type { DiskRoom, HostUsage, PlaceKind, PlaceSize, RepositoryUsage } from "../domain/usage.js";
import type { WorkspaceState } from "../domain/workspace.js";
import type { DueSize, UsageStore } from "../ports/usage-store.js";
import { only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { workspaceName, workspaceNumber } from "./rows.js";

interface HostRow {
  host: string;
  total_bytes: string | null;
  free_bytes: string;
  low_bytes: string;
  min_free_bytes: string;
  reserve_bytes: string;
  low: boolean;
  check_time: Date;
}

interface PlaceRow {
  host: string;
  kind: PlaceKind | "WORKSPACES";
  repository: string;
  bytes: string;
  workspaces: number;
  unmeasured: number;
  measure_time: Date | null;
}

interface SizeRow {
  host: string;
  repository: string;
  workspace: string;
  state: WorkspaceState;
  bytes: string;
  measure_time: Date;
}

export class PostgresUsage implements UsageStore {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  async due(settleMs: number, freshMs: number, limit: number): Promise<readonly DueSize[]> {
    const rows = await run(
      () => this.#sql<{ workspace: string; workspace_version: string; workspace_path: string; repository: string }[]>`
        select * from due_sizes(${this.#identity.hostId}, make_interval(secs => ${settleMs / 1000}::float8),
          make_interval(secs => ${freshMs / 1000}::float8), ${limit})`,
    );
    return rows.map((row) => ({
      workspaceId: workspaceName(row.workspace),
      version: BigInt(row.workspace_version),
      path: row.workspace_path,
      repository: row.repository,
    }));
  }

  async storeSize({ workspaceId, version }: DueSize, bytes: number): Promise<void> {
    await run(
      () => this.#sql`select store_size(${workspaceNumber(workspaceId)}, ${String(version)}, ${String(bytes)})`,
    );
  }

  async storePlace({ kind, repository, bytes }: PlaceSize): Promise<void> {
    await run(
      () => this.#sql`
        insert into place_sizes (host_id, kind, repository, bytes)
        values (${this.#identity.hostId}, ${kind}, ${repository}, ${String(bytes)})
            on conflict (host_id, kind, repository) do update set bytes = excluded.bytes, measure_time = excluded.measure_time`,
    );
  }

  async places(): Promise<{ mirrors: readonly string[]; salvages: readonly string[] }> {
    const host = this.#identity.hostId;
    const rows = await run(
      () => this.#sql<{ kind: "MIRROR" | "SALVAGES"; name: string }[]>`
        with found as (
          select 'MIRROR' as kind, r.name from mirrors m join repositories r on r.id = m.repository_id
           where m.host_id = ${host} and m.state = 'READY'
          union select 'DEPENDENCIES', r.name from mirrors m join repositories r on r.id = m.repository_id where m.host_id = ${host}
          union select 'SALVAGES', s.repository from salvages s where s.host_id = ${host}
        ), gone as (
          delete from place_sizes p where p.host_id = ${host} and p.repository <> ''
             and not exists (select from found f where f.kind = p.kind and f.name = p.repository)
        )
        select kind, name from found where kind <> 'DEPENDENCIES' order by name`,
    );
    const named = (kind: "MIRROR" | "SALVAGES") => rows.filter((row) => row.kind === kind).map(({ name }) => name);
    return { mirrors: named("MIRROR"), salvages: named("SALVAGES") };
  }

  async commits(repository: string): Promise<readonly string[]> {
    const host = this.#identity.hostId;
    const rows = await run(
      () => this.#sql<{ id: string }[]>`
        with own as (
          select w.* from workspaces w join repositories r on r.id = w.repository_id
           where r.name = ${repository} and w.host_id = ${host} and w.state <> 'RETIRED'
        )
        select id from (
          select commit_id as id from own
          union select l.commit_id from leases l join own on own.id = l.workspace_id where l.end_time is null
          union select l.resolved_commit from leases l join own on own.id = l.workspace_id where l.end_time is null
          union select base_commit from salvages where salvages.repository = ${repository} and host_id = ${host}
        ) commits where id <> ''`,
    );
    return rows.map(({ id }) => id);
  }

  async largest(): Promise<ReadonlyMap<number, number>> {
    const rows = await run(
      () => this.#sql<{ id: number; bytes: string | null }[]>`
        select r.id, coalesce(
                 (select max(s.bytes) from workspace_sizes s join workspaces w on w.id = s.workspace_id
                   where w.host_id = ${this.#identity.hostId} and w.repository_id = r.id and w.state = 'IDLE'),
                 (select min(s.bytes) from workspace_sizes s join workspaces w on w.id = s.workspace_id
                   where w.host_id = ${this.#identity.hostId} and w.repository_id = r.id and w.state <> 'RETIRED'),
                 (select p.bytes from place_sizes p
                   where p.host_id = ${this.#identity.hostId} and p.kind = 'MIRROR' and p.repository = r.name)) as bytes
          from repositories r`,
    );
    return new Map(rows.map((row) => [row.id, Number(row.bytes ?? 0)]));
  }

  async evict(state: "IDLE" | "PARKED", bytes: number, limit: number): Promise<readonly string[]> {
    const rows = await run(
      () => this.#sql<{ id: string }[]>`
        select id from evict_workspaces(${String(this.#identity.ownerId)}, ${this.#identity.hostId}, ${state},
          ${String(Math.ceil(bytes))}, ${limit}) as id`,
    );
    return rows.map(({ id }) => workspaceName(id));
  }

  async cachesInUse(): Promise<readonly string[]> {
    const rows = await run(
      () => this.#sql<{ path: string }[]>`
        select distinct l.dependencies ->> 'cachePath' as path from leases l join workspaces w on w.id = l.workspace_id
         where l.end_time is null and l.dependencies is not null and w.host_id = ${this.#identity.hostId}`,
    );
    return rows.flatMap(({ path }) => path ?? []);
  }

  async noteDisk(room: DiskRoom, reserveBytes: number, recoverBytes: number): Promise<boolean> {
    const { totalBytes, freeBytes, lowBytes, minFreeBytes } = room;
    const bytes = [totalBytes, freeBytes, lowBytes, minFreeBytes, reserveBytes, recoverBytes].map(String);
    const [total, free, low, minFree, reserve, recover] = bytes as [string, string, string, string, string, string];
    const row = only(
      await run(
        () => this.#sql<{ low: boolean }[]>`
          select note_disk(${String(this.#identity.ownerId)}, ${this.#identity.hostId}, ${total}, ${free}, ${low}, ${minFree},
            ${reserve}, ${recover}) as low`,
      ),
    );
    return row.low;
  }

  async usage(host: string, sizes: number): Promise<readonly HostUsage[]> {
    const wanted = host || null;
    const [hosts, places, largest] = await Promise.all([
      run(
        () => this.#sql<HostRow[]>`
          select h.name as host, d.* from hosts h left join host_disks d on d.host_id = h.id
           where not h.removed and (${wanted}::text is null or h.name = ${wanted}::text) order by h.name`,
      ),
      run(() => this.#places(wanted)),
      sizes > 0 ? run(() => this.#sizes(wanted, sizes)) : [],
    ]);
    return hosts.map((row) => hostUsage(row, places, largest));
  }

  #places(host: string | null) {
    return this.#sql<PlaceRow[]>`
      select h.name as host, p.kind, p.repository, p.bytes, 0 as workspaces, 0 as unmeasured, p.measure_time
        from place_sizes p join hosts h on h.id = p.host_id and not h.removed
       where ${host}::text is null or h.name = ${host}::text
      union all
      select h.name, 'WORKSPACES', r.name, coalesce(sum(s.bytes), 0)::bigint, count(*)::int,
             count(*) filter (where s.workspace_id is null)::int, min(s.measure_time)
        from workspaces w
        join repositories r on r.id = w.repository_id
        join hosts h on h.id = w.host_id
        left join workspace_sizes s on s.workspace_id = w.id
       where w.state <> 'RETIRED' and (${host}::text is null or h.name = ${host}::text)
       group by h.name, r.name`;
  }

  #sizes(host: string | null, limit: number) {
    return this.#sql<SizeRow[]>`
      select h.name as host, x.* from hosts h
       cross join lateral (
         select r.name as repository, w.id as workspace, w.state, s.bytes, s.measure_time
           from workspaces w
           join repositories r on r.id = w.repository_id
           join workspace_sizes s on s.workspace_id = w.id
          where w.host_id = h.id and w.state <> 'RETIRED' order by s.bytes desc, w.id limit ${limit}) x
       where not h.removed and (${host}::text is null or h.name = ${host}::text)
       order by h.name, x.bytes desc, x.workspace`;
  }
}

function hostUsage(row: HostRow, allPlaces: readonly PlaceRow[], allSizes: readonly SizeRow[]): HostUsage {
  const places = allPlaces.filter(({ host }) => host === row.host);
  const sizes = allSizes.filter(({ host }) => host === row.host);
  const names = [...new Set(places.map(({ repository }) => repository))].filter((name) => name !== "").sort();
  const bytesOf = (kind: PlaceKind): number => Number(places.find((place) => place.kind === kind)?.bytes ?? 0);
  const measureTime = oldest(places);
  return {
    host: row.host,
    ...(row.total_bytes === null ? {} : { disk: diskOf(row) }),
    repositories: names.map((name) =>
      repositoryUsage(
        name,
        places.filter(({ repository }) => repository === name),
        sizes.filter(({ repository }) => repository === name),
      ),
    ),
    submoduleBytes: bytesOf("SUBMODULES"),
    trashBytes: bytesOf("TRASH"),
    otherBytes: bytesOf("OTHER"),
    ...(measureTime ? { measureTime } : {}),
  };
}

function diskOf(row: HostRow): NonNullable<HostUsage["disk"]> {
  return {
    totalBytes: Number(row.total_bytes),
    freeBytes: Number(row.free_bytes),
    lowBytes: Number(row.low_bytes),
    minFreeBytes: Number(row.min_free_bytes),
    reserveBytes: Number(row.reserve_bytes),
    low: row.low,
    checkTime: row.check_time,
  };
}

function repositoryUsage(repository: string, places: readonly PlaceRow[], sizes: readonly SizeRow[]): RepositoryUsage {
  const find = (kind: PlaceRow["kind"]) => places.find((place) => place.kind === kind);
  const bytesOf = (kind: PlaceRow["kind"]): number => Number(find(kind)?.bytes ?? 0);
  const measureTime = oldest(places);
  return {
    repository,
    mirrorBytes: bytesOf("MIRROR"),
    workspaceBytes: bytesOf("WORKSPACES"),
    salvageBytes: bytesOf("SALVAGES"),
    dependencyBytes: bytesOf("DEPENDENCIES"),
    workspaces: find("WORKSPACES")?.workspaces ?? 0,
    unmeasured: find("WORKSPACES")?.unmeasured ?? 0,
    ...(measureTime ? { measureTime } : {}),
    sizes: sizes.map(({ workspace, state, bytes, measure_time }) => ({
      workspaceId: workspaceName(workspace),
      state,
      bytes: Number(bytes),
      measureTime: measure_time,
    })),
  };
}

function oldest(places: readonly PlaceRow[]): Date | undefined {
  const times = places.flatMap(({ measure_time }) => measure_time ?? []);
  return times.length === 0 ? undefined : new Date(Math.min(...times.map((time) => time.getTime())));
}
