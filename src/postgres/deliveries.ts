/** Implements the port `DeliveryStore` over migrations/0023_deliveries.sql. */
import type { Repository } from "../domain/repository.js";
import type { ClaimedDelivery, Delivery, DeliveryStore, WantedRefresh } from "../ports/delivery-store.js";
import { integers, type Json, run, type Sql } from "./client.js";
import type { Identity } from "./identity.js";
import { type RepositoryRow, toRepository } from "./rows.js";

interface DeliveryRow {
  id: string;
  forge: string;
  delivery_id: string;
  digest: string;
  lane: string;
  content: Pick<Delivery, "forgeUrl" | "subjectUrls" | "event">;
  attempts: number;
}

export class PostgresDeliveries implements DeliveryStore {
  readonly #sql: Sql;
  readonly #identity: Identity;

  constructor(sql: Sql, identity: Identity) {
    this.#sql = sql;
    this.#identity = identity;
  }

  async store(deliveries: readonly Delivery[]): Promise<readonly boolean[]> {
    const rows = deliveries.map(({ forge, deliveryId, digest, lane, ...content }) => ({
      ...{ forge, id: deliveryId, digest, lane },
      content,
    }));
    const stored = await run(
      () => this.#sql<{ name: string }[]>`
        select name from store_deliveries(${this.#sql.json(rows as unknown as Json)}::jsonb) as name`,
    );
    const names = new Set(stored.map(({ name }) => name));
    // of two with one name in one batch, the first is the one that was stored
    return deliveries.map(({ forge, deliveryId }) => names.delete(`${forge} ${deliveryId}`));
  }

  async claim(limit: number): Promise<readonly ClaimedDelivery[]> {
    const rows = await run(
      () => this.#sql<DeliveryRow[]>`
        select id, forge, delivery_id, digest, lane, content, attempts
          from claim_deliveries(${String(this.#identity.deskId)}, ${limit}) order by id`,
    );
    return rows.map(({ id, forge, delivery_id, digest, lane, content, attempts }) => ({
      ...{ forge, digest, lane, ...content },
      id: BigInt(id),
      deliveryId: delivery_id,
      attempt: attempts,
    }));
  }

  async finish(ids: readonly bigint[]): Promise<void> {
    await run(
      () => this.#sql`
        update forge_deliveries set done_time = clock_timestamp(), worker = null, problem = ''
         where id = any (${integers(ids)}::bigint[]) and done_time is null`,
    );
  }

  async postpone(id: bigint, problem: string): Promise<void> {
    await run(() => this.#sql`select postpone_delivery(${String(id)}, ${problem})`);
  }

  async repositoriesWith(text: string): Promise<readonly Repository[]> {
    const rows = await run(
      () => this.#sql<RepositoryRow[]>`
        select * from repositories where not removing and position(lower(${text}) in lower(url)) > 0 order by id`,
    );
    return rows.map(toRepository);
  }

  async wantRefresh(repositoryIds: readonly number[]): Promise<void> {
    await run(() => this.#sql`select want_refresh(${integers(repositoryIds)}::int[])`);
  }

  async dueRefreshes(limit: number): Promise<readonly WantedRefresh[]> {
    const rows = await run(
      () => this.#sql<(RepositoryRow & { mark: string; attempts: number })[]>`
        select r.*, x.wanted_time::text as mark, x.attempts
          from mirror_refreshes x join repositories r on r.id = x.repository_id
         where x.host_id = ${this.#identity.hostId} and x.retry_time <= clock_timestamp() and not r.removing
         order by x.wanted_time limit ${limit}`,
    );
    return rows.map(({ mark, attempts, ...row }) => ({ repository: toRepository(row), mark, attempt: attempts + 1 }));
  }

  async refreshed({ repository, mark }: WantedRefresh): Promise<void> {
    await run(
      () => this.#sql`
        delete from mirror_refreshes
         where repository_id = ${repository.id} and host_id = ${this.#identity.hostId} and wanted_time::text = ${mark}`,
    );
  }

  async postponeRefresh({ repository, mark }: WantedRefresh): Promise<void> {
    await run(() => this.#sql`select postpone_refresh(${repository.id}, ${this.#identity.hostId}, ${mark})`);
  }

  async forget(retentionMs: number): Promise<void> {
    await run(
      () => this.#sql`
        delete from forge_deliveries where receive_time < clock_timestamp() - make_interval(secs => ${retentionMs / 1000}::float8)`,
    );
  }
}
