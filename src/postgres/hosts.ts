/** Implements the port `HostStore` over migrations/0008_hosts.sql. */
import type { Host } from "../domain/host.js";
import type { BindingOf, HostStore } from "../ports/host-store.js";
import { only, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";

interface HostRow {
  name: string;
  owned: boolean;
  well_time: Date | null;
  seen_time: Date | null;
  create_time: Date;
  workspaces: number;
  leases: number;
}

export class PostgresHosts implements HostStore {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  async list(after: string, limit: number): Promise<readonly Host[]> {
    const rows = await run(
      () => this.#sql<HostRow[]>`
        select h.name, h.server_id is not null and h.seen_time > clock_timestamp() - interval '5 seconds' as owned,
               h.well_time, h.seen_time, h.create_time,
               (select count(*) from workspaces w where w.host_id = h.id and w.state <> 'RETIRED')::int as workspaces,
               (select count(*) from workspaces w where w.host_id = h.id and w.state = 'LEASED')::int as leases
          from hosts h where not h.removed and h.name > ${after} order by h.name limit ${limit}`,
    );
    return rows.map((row) => ({
      name: row.name,
      owned: row.owned,
      createTime: row.create_time,
      workspaces: row.workspaces,
      leases: row.leases,
      ...(row.owned && row.well_time ? { wellTime: row.well_time } : {}),
      ...(row.seen_time ? { seenTime: row.seen_time } : {}),
    }));
  }

  async byName(name: string): Promise<{ id: number; name: string; owned: boolean } | undefined> {
    const [row] = await run(
      () => this.#sql<{ id: number; name: string; owned: boolean }[]>`
        select id, name, server_id is not null and seen_time > clock_timestamp() - interval '5 seconds' as owned
          from hosts where name = ${name} and not removed`,
    );
    return row;
  }

  /** The workspace of the binding decides, then an idle one, then this server's own host, then the host with the fewest leases. */
  async choose(repositoryId: number, binding: BindingOf): Promise<{ id: number; name: string } | undefined> {
    const [row] = await run(
      () => this.#sql<{ id: number; name: string }[]>`
        select h.id, h.name from hosts h
         where not h.removed and h.server_id is not null and h.seen_time > clock_timestamp() - interval '5 seconds'
         order by exists (select from workspaces w where w.host_id = h.id and w.repository_id = ${repositoryId} and w.binding <> ''
                             and w.bound_caller = ${binding.caller} and w.binding = ${binding.key}) desc,
                  exists (select from workspaces w where w.host_id = h.id and w.repository_id = ${repositoryId} and w.state = 'IDLE') desc,
                  h.id = ${this.#identity.hostId} desc,
                  (select count(*) from workspaces w where w.host_id = h.id and w.state = 'LEASED'), h.id
         limit 1`,
    );
    return row;
  }

  async remove(name: string, force: boolean): ReturnType<HostStore["remove"]> {
    const { outcome, leases } = only(
      await run(
        () => this.#sql<{ outcome: "removed" | "unknown" | "owned" | "in-use"; leases: number }[]>`
          select * from remove_host(${name}, ${force})`,
      ),
    );
    return outcome === "in-use" ? { kind: outcome, leases } : { kind: outcome };
  }
}
