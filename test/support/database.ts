/**
 * Owns: a database per test file on the run's Postgres, copied from a template that has all migrations.
 *
 * 1. No two callers share a database, so no test sees another's rows, locks in it, or notifications.
 * 2. Migrations run once per run, into the template; a copy costs tens of milliseconds.
 */
import { randomBytes } from "node:crypto";
import postgres from "postgres";
import { inject } from "vitest";
import type { EmbeddedConnection } from "../../src/postgres/embedded/embedded-postgres.js";
import { migrate } from "../../src/postgres/migrate.js";

/** A database for one test file. */
export interface TestDatabase {
  /** What to give to `postgres(...)` and to the server's own connection. */
  readonly connection: EmbeddedConnection;
  /** The same as a URL, for `DATABASE_URL`. */
  readonly url: string;
  /** Ends every connection to it and removes it. */
  drop(): Promise<void>;
}

const template = "leasehold_template";

/** Makes a database of its own for the caller: `beforeAll` makes it, `afterAll` drops it. */
export async function createDatabase(): Promise<TestDatabase> {
  const server = inject("postgres");
  const database = `t_${randomBytes(6).toString("hex")}`;
  await administer(server, async (sql) => {
    await sql`create database ${sql(database)} template ${sql(template)} strategy file_copy`;
  });
  const connection = { ...server, database };
  return {
    connection,
    url: databaseUrl(connection),
    drop: () =>
      administer(server, async (sql) => {
        await sql`drop database if exists ${sql(database)} with (force)`;
      }),
  };
}

/** Run once per test run, before any file: makes the template afresh and migrates it. */
export async function prepareTemplate(server: EmbeddedConnection): Promise<void> {
  await administer(server, async (sql) => {
    await sql`drop database if exists ${sql(template)} with (force)`;
    await sql`create database ${sql(template)}`;
  });
  await migrate({ ...server, database: template });
}

/** A socket's directory stands percent-encoded in the host's place, as libpq reads it (postgres.js by itself does not). */
function databaseUrl({ host, port, user, database }: EmbeddedConnection): string {
  return `postgres://${user}@${encodeURIComponent(host)}:${port}/${database}`;
}

async function administer(server: EmbeddedConnection, work: (sql: postgres.Sql) => Promise<void>): Promise<void> {
  const sql = postgres({ ...server, max: 1, ssl: false, onnotice: () => undefined });
  try {
    await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
