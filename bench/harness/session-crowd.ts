/** Owns a store with many open sessions whose workspaces are parked, inserted by SQL, and sweeps of it without files. */
import { randomUUID } from "node:crypto";
import { defaultSettings } from "../../src/domain/repository.js";
import type { Forges, SubjectAnswer } from "../../src/ports/forges.js";
import { connectPool, type PostgresConnection, type Sql } from "../../src/postgres/client.js";
import { openStore, type Store } from "../../src/postgres/store.js";
import { Sweeping, type Swept } from "../../src/service/sweep/sweeping.js";

const day = 24 * 3_600_000;
const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export class SessionCrowd {
  readonly #store: Store;
  readonly #sql: Sql;

  private constructor(store: Store, sql: Sql) {
    this.#store = store;
    this.#sql = sql;
  }

  static async open(connection: PostgresConnection): Promise<SessionCrowd> {
    const store = await openStore({ connection, direct: connection, hostName: "bench", dataId: randomUUID() });
    await store.ownership.start();
    const settings = { ...defaultSettings, url: "/srv/swept.git", maxWorkspaces: 1_000_000 };
    await store.repositories.register("swept", settings);
    return new SessionCrowd(store, connectPool(connection, { max: 1, name: "bench" }));
  }

  /** `count` open sessions and no others; ten of them share a subject. `forgeUrl`: where the subjects are. */
  async fill(forgeUrl: string, count: number): Promise<void> {
    const sql = this.#sql;
    await sql`truncate sessions, session_agents, session_changes, subjects, leases, outbox, workspaces, sweeps cascade`;
    await sql`
      insert into workspaces (id, repository_id, host_id, state, path, commit_id, fence, binding, park_time, verify_time, guard_work)
             overriding system value
      select n, 1, ${this.#store.ownership.host.id}, 'PARKED', '/nowhere/swept/w' || n || '.1', repeat('7', 40), 2, 'b' || n, now(), now(), true
        from generate_series(1, ${count}::int) as n`;
    await sql`
      insert into sessions (repository, caller, binding, subject, state, workspace_id, fence, host, path, labels)
      select 'swept', '', 'b' || n,
             jsonb_build_object('url', ${forgeUrl}::text || '/o/n/issues/' || s, 'forge', 'bench', 'project', 'o/n', 'kind', 'ISSUE', 'number', s),
             'SUSPENDED', n, 1, 'bench', '/nowhere/swept/w' || n || '.1', '{}'
        from generate_series(1, ${count}::int) as n, lateral (select 1 + n / 10 as s) as x`;
    await sql`
      insert into session_agents (session_id, agent, backend, state, backend_session_id, bound_host, bound_path, bound_workspace_id)
      select id, 'ada', 'demo', 'STOPPED', 'talk-' || id, host, path, workspace_id from sessions`;
    await sql.unsafe("vacuum analyze");
  }

  /** One sweep with the product's own code. Its files are nobody's here. */
  async sweep(forges: Forges): Promise<Swept & { readonly ms: number }> {
    const sweeping = new Sweeping({
      ...{ store: this.#store.sweeps, forges, log: quiet, retentionMs: 7 * day },
      ...{ tidying: { tidy: async () => {} }, ownership: this.#store.ownership },
      ...{ keeper: { expect: () => {} }, wake: { hint: () => {} } },
      limits: { graceMs: 0, maxAgeMs: 30 * day, orphanAgeMs: day },
    });
    const start = performance.now();
    const swept = await sweeping.sweep(false);
    return { ...swept, ms: performance.now() - start };
  }

  async close(): Promise<void> {
    await this.#store.ownership.stop();
    await this.#store.close();
    await this.#sql.end({ timeout: 1 });
  }
}

/** Forges that answer at once, so that the database alone is measured. */
export function answering(state: SubjectAnswer["state"]): Forges {
  return { configured: [], state: async () => ({ state, problem: "", failed: false }) };
}
