/**
 * Owns the opening and closing of the whole store: one pool, one connection for hints, one for ownership.
 */
import type { TokenSecret } from "../domain/lease-token.js";
import { connectPool, only, type PostgresConnection, run } from "./client.js";
import { PostgresDeliveries } from "./deliveries.js";
import { PostgresDependencies } from "./dependencies.js";
import { PostgresEventLog } from "./event-log.js";
import { PostgresHosts } from "./hosts.js";
import { PostgresLeases } from "./leases.js";
import { migrate } from "./migrate.js";
import { joinHost, PostgresOwnership } from "./ownership.js";
import { PostgresRepositories } from "./repositories.js";
import { PostgresSalvages } from "./salvages.js";
import { PostgresSessions } from "./sessions.js";
import { PostgresSweeps } from "./sweeps.js";
import { PostgresTickets } from "./tickets.js";
import { PostgresUsage } from "./usage.js";
import { PostgresWake } from "./wake.js";
import { PostgresWork } from "./work.js";
import { PostgresWorkspaces } from "./workspaces.js";

export interface StoreOptions {
  /** For statements; may go through a pooler. */
  readonly connection: PostgresConnection;
  /** For the lock of ownership and for hints: must not go through a transaction pooler. */
  readonly direct: PostgresConnection;
  readonly hostName: string;
  /** Id of the data directory, so that two directories cannot both be one host. */
  readonly dataId: string;
  readonly poolSize?: number;
}

export async function openStore(options: StoreOptions) {
  const { connection, direct, hostName, dataId } = options;
  await migrate(direct);
  const sql = connectPool(connection, { max: options.poolSize ?? 16, name: `leasehold ${hostName}` });
  const listening = connectPool(direct, { max: 2, name: `leasehold hints ${hostName}` });
  try {
    const meta = only(
      await run(
        () => sql<{ store_id: string; token_key: Uint8Array; version: string }[]>`
          select store_id, token_key, current_setting('server_version') as version from meta`,
      ),
    );
    const identity = await joinHost(sql, hostName, dataId);
    const leases = new PostgresLeases(sql, identity);
    const secret: TokenSecret = { storeId: meta.store_id, key: meta.token_key };
    return {
      secret,
      version: meta.version,
      tickets: new PostgresTickets(sql, identity),
      leases,
      pool: new PostgresWorkspaces(sql, leases),
      work: new PostgresWork(sql, identity),
      salvages: new PostgresSalvages(sql, identity),
      sessions: new PostgresSessions(sql),
      sweeps: new PostgresSweeps(sql, identity),
      dependencies: new PostgresDependencies(sql, identity),
      deliveries: new PostgresDeliveries(sql, identity),
      repositories: new PostgresRepositories(sql, identity),
      hosts: new PostgresHosts(sql, identity),
      usage: new PostgresUsage(sql, identity),
      events: new PostgresEventLog(sql),
      wake: new PostgresWake(listening),
      ownership: new PostgresOwnership(sql, direct, identity),
      /** Whether the database answers, and how quickly it does. */
      ping: async () => {
        await sql`select 1`;
      },
      close: async () => {
        await Promise.all([sql.end({ timeout: 5 }), listening.end({ timeout: 5 })]);
      },
    };
  } catch (error) {
    await Promise.all([sql.end({ timeout: 1 }), listening.end({ timeout: 1 })]);
    throw error;
  }
}

export type Store = Awaited<ReturnType<typeof openStore>>;
