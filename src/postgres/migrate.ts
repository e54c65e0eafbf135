/**
 * Owns the version of the schema.
 *
 * Invariants:
 * 1. All pending migrations are applied in one transaction under an advisory lock: after a kill there is all or nothing.
 * 2. An applied migration never changes (its checksum is stored), and there is no way back.
 * 3. A database that is newer than this build is refused.
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { connectPool, isBroken, type PostgresConnection, type Sql, schema } from "./client.js";
import { lockClass, singleton } from "./locks.js";

export interface Migration {
  readonly id: number;
  readonly name: string;
  readonly text: string;
  readonly checksum: string;
}

/** What the database refuses to be migrated for; its message is one line for an operator. */
export class MigrationError extends Error {
  override readonly name = "MigrationError";
}

/** Beside this file; the build copies them. */
const directory = new URL("./migrations/", import.meta.url);

export async function readMigrations(): Promise<readonly Migration[]> {
  const names = (await readdir(directory)).filter((name) => /^\d{4}_[a-z_]+\.sql$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(new URL(name, directory), "utf8");
      return { id: Number(name.slice(0, 4)), name, text, checksum: createHash("sha256").update(text).digest("hex") };
    }),
  );
}

/** Applies what is pending. Answers how many migrations that were. */
export async function migrate(connection: PostgresConnection): Promise<number> {
  const migrations = await readMigrations();
  // one connection: the transaction below is plain statements on it (see client.ts, invariant 1)
  const sql = connectPool(connection, { max: 1, name: "leasehold migrate" });
  try {
    await sql.unsafe("begin");
    await sql`select pg_advisory_xact_lock(${lockClass.singleton}::int, ${singleton.migrations}::int)`;
    const applied = await applyPending(sql, migrations);
    await sql.unsafe("commit");
    return applied;
  } catch (error) {
    if (error instanceof MigrationError) throw error;
    const { message } = error as Error;
    throw new Error(`the database cannot be ${isBroken(error) ? "reached" : "used"}: ${message}`, { cause: error });
  } finally {
    // an open transaction is rolled back by the end of its session
    await sql.end({ timeout: 5 });
  }
}

async function applyPending(sql: Sql, migrations: readonly Migration[]): Promise<number> {
  await sql.unsafe(`create schema if not exists ${schema}`);
  await sql.unsafe(`create table if not exists ${schema}.migrations
    (id int primary key, name text not null, checksum text not null, apply_time timestamptz not null default clock_timestamp())`);
  const done = await sql<
    { id: number; name: string; checksum: string }[]
  >`select id, name, checksum from migrations order by id`;
  const known = new Map(migrations.map((migration) => [migration.id, migration]));
  for (const row of done) {
    const migration = known.get(row.id);
    if (!migration) {
      throw new MigrationError(
        `the database is of a newer version: it has migration ${row.name}, which this build does not know`,
      );
    }
    if (migration.checksum !== row.checksum) {
      throw new MigrationError(`migration ${row.name} was changed after it had been applied to this database`);
    }
  }
  const applied = new Set(done.map((row) => row.id));
  const pending = migrations.filter((migration) => !applied.has(migration.id));
  for (const migration of pending) {
    await sql.unsafe(migration.text);
    await sql`insert into migrations (id, name, checksum) values (${migration.id}, ${migration.name}, ${migration.checksum})`;
  }
  return pending.length;
}
