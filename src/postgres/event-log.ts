/** Implements the port `EventLog` over migrations/0003_events.sql. */
import type { Event } from "../domain/event.js";
import type { EventBounds, EventLog } from "../ports/event-log.js";
import { only, run, type Sql } from "./client.js";
import { type EventRow, toEvent } from "./rows.js";

const publishBatch = 5_000;
const trimBatch = 5_000;

export class PostgresEventLog implements EventLog {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async publish(): Promise<EventBounds> {
    for (;;) {
      const row = only(
        await run(
          () => this.#sql<{ oldest: string; newest: string; published: string }[]>`
            select oldest, newest, published from publish_events(${publishBatch})`,
        ),
      );
      if (Number(row.published) < publishBatch) return { oldest: BigInt(row.oldest), newest: BigInt(row.newest) };
    }
  }

  async read(revision: bigint, limit: number): Promise<readonly Event[]> {
    const rows = await run(
      () => this.#sql<EventRow[]>`
        select * from events where revision >= ${String(revision)}::bigint order by revision limit ${limit}`,
    );
    return rows.map(toEvent);
  }

  async trim(retentionMs: number): Promise<number> {
    const row = only(
      await run(
        () => this.#sql<{ gone: number }[]>`
          select trim_events(make_interval(secs => ${retentionMs / 1000}::float8), ${trimBatch}) as gone`,
      ),
    );
    return row.gone;
  }
}
