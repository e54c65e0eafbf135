/** Owns a store with many workspaces, inserted by SQL, and Acquires without files on it. */
import { randomUUID } from "node:crypto";
import { defaultSettings, type Repository } from "../../src/domain/repository.js";
import { connectPool, type PostgresConnection } from "../../src/postgres/client.js";
import { openStore, type Store } from "../../src/postgres/store.js";

const root = "/nowhere";

export class CrowdedStore {
  /** A commit at which idle workspaces stand. */
  readonly known = "7".repeat(40);
  readonly #store: Store;
  readonly #repository: Repository;

  private constructor(store: Store, repository: Repository) {
    this.#store = store;
    this.#repository = repository;
  }

  static async open(connection: PostgresConnection, workspaces: number): Promise<CrowdedStore> {
    const store = await openStore({ connection, direct: connection, hostName: "bench", dataId: randomUUID() });
    await store.ownership.start();
    const settings = { ...defaultSettings, salvageTtlMs: 1_000 };
    const url = "/srv/crowded.git";
    const registered = await store.repositories.register("crowded", { ...settings, url, maxWorkspaces: 1_000_000 });
    if (registered.kind !== "registered") throw new Error("a fresh database has a repository");
    const crowded = new CrowdedStore(store, registered.repository);
    await crowded.#fill(connection, workspaces);
    // one that stands at the known commit
    await crowded.acquire(crowded.known);
    return crowded;
  }

  /** One lease and its end, by the store's statements, as if the files had been moved in no time. */
  async acquire(commit: string): Promise<{ readonly grantMs: number; readonly wholeMs: number }> {
    const { tickets, leases, work } = this.#store;
    const wanted = { commit, head: "refs/heads/main", refsVersion: 1n };
    const start = performance.now();
    const opened = await tickets.open({
      caller: "",
      requestId: "",
      digest: "bench",
      repositoryId: this.#repository.id,
      hostId: this.#store.ownership.host.id,
      spec: {
        revision: "",
        holder: "",
        labels: {},
        ttlMs: 60_000,
        maxStalenessMs: 0,
        branch: "",
        binding: "",
        mayWait: false,
      },
    });
    if (opened.kind !== "opened") throw new Error(`a ticket was ${opened.kind}`);
    const { ticketId } = opened;
    const asked = performance.now();
    const { url } = this.#repository;
    const granted = await tickets.grant({ ticketId, ...wanted, workspaceRoot: root, mayMake: true, url });
    const grantMs = performance.now() - asked;
    if (granted.kind !== "granted") throw new Error(`a ticket was not granted but ${granted.kind}`);
    const lease = await tickets.activate({ ticketId, key: granted.key, ...wanted, source: "WARM", timings: [] });
    if (!lease) throw new Error("a lease was not activated");
    const wholeMs = performance.now() - start;
    await leases.end(granted.key, "RELEASED", "CLEAN");
    for (const due of await work.claimWork([], root, 10)) {
      await work.finishWork(due.key, { kind: "idle", ...wanted, commit: this.known });
    }
    return { grantMs, wholeMs };
  }

  async close(): Promise<void> {
    await this.#store.ownership.stop();
    await this.#store.close();
  }

  async #fill(connection: PostgresConnection, count: number): Promise<void> {
    const sql = connectPool(connection, { max: 1, name: "bench" });
    const host = this.#store.ownership.host.id;
    const repository = this.#repository.id;
    // odd ones are leased; the others stand at a thousand different commits
    await sql`
      insert into workspaces (repository_id, host_id, state, path, commit_id, head, refs_version, idle_time, verify_time)
      select ${repository}, ${host}, case when n % 2 = 1 then 'LEASED' else 'IDLE' end, ${root} || '/crowded/w' || n || '.1',
             encode(sha256((n % 1000)::text::bytea), 'hex'), 'refs/heads/main', 1,
             case when n % 2 = 0 then clock_timestamp() - make_interval(secs => n) end,
             clock_timestamp()
        from generate_series(1, ${count}::int) as n`;
    await sql`
      insert into leases (workspace_id, fence, ticket_id, caller, holder, revision, commit_id, labels, source, timings, ttl, expire_time)
      select w.id, w.fence, w.id, '', 'bench', '', w.commit_id, '{}', 'WARM', '[]', '1 day', clock_timestamp() + interval '1 day'
        from workspaces w where w.state = 'LEASED'`;
    await sql`
      insert into tickets (caller, request_id, kept, digest, repository_id, host_id, spec, state, workspace_id, fence)
      select '', 'bench-' || w.id, false, '', w.repository_id, w.host_id, '{}', 'LEASED', w.id, w.fence
        from workspaces w where w.state = 'LEASED'`;
    // what autovacuum does soon in a database that has grown slowly
    await sql.unsafe("vacuum analyze");
    await sql.end();
  }
}
