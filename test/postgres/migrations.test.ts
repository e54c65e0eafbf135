import { afterAll, beforeAll, expect, test } from "vitest";
import { transitions, type WorkspaceState } from "../../src/domain/workspace.js";
import { connectPool, type Sql } from "../../src/postgres/client.js";
import { lockClass, singleton } from "../../src/postgres/locks.js";
import { MigrationError, migrate, readMigrations } from "../../src/postgres/migrate.js";
import { createDatabase, type TestDatabase } from "../support/database.js";

let database: TestDatabase;
let sql: Sql;

beforeAll(async () => {
  database = await createDatabase();
  sql = connectPool(database.connection, { max: 1, name: "test" });
});
afterAll(async () => {
  await sql.end({ timeout: 1 });
  await database.drop();
});

test("many servers that migrate at once apply every migration once", async () => {
  await sql.unsafe("drop schema leasehold cascade");
  const applied = await Promise.all(Array.from({ length: 8 }, () => migrate(database.connection)));
  expect(applied.filter((count) => count > 0)).toEqual([(await readMigrations()).length]);
});

test("G12 a migration that fails leaves nothing behind", async () => {
  await sql.unsafe("drop schema leasehold cascade");
  // a type of the name of a later table makes that migration fail, after others have been applied
  await sql.unsafe(
    "create schema leasehold; create function leasehold.publish_events(int) returns int language sql as 'select 1'",
  );
  await expect(migrate(database.connection)).rejects.toThrow();
  const tables = await sql`select from information_schema.tables where table_schema = 'leasehold'`;
  expect(tables.length).toBe(0);
  await sql.unsafe("drop schema leasehold cascade");
  await migrate(database.connection);
});

test("a database of a newer version is refused in one line", async () => {
  await sql`insert into migrations (id, name, checksum) values (9999, '9999_future.sql', 'x')`;
  await expect(migrate(database.connection)).rejects.toThrow(MigrationError);
  await expect(migrate(database.connection)).rejects.toThrow(/newer version/);
  await sql`delete from migrations where id = 9999`;
});

test("a migration that was changed after it had been applied is refused", async () => {
  await sql`update migrations set checksum = 'other' where id = 3`;
  await expect(migrate(database.connection)).rejects.toThrow(/was changed/);
  const text = (await readMigrations()).find((migration) => migration.id === 3)?.checksum ?? "";
  await sql`update migrations set checksum = ${text} where id = 3`;
  expect(await migrate(database.connection)).toBe(0);
});

test("the database allows the transitions of the domain's table and no others", async () => {
  const rows = await sql<
    { previous: WorkspaceState; next: WorkspaceState }[]
  >`select previous, next from workspace_transitions`;
  const stored = rows.map((row) => `${row.previous} ${row.next}`).sort();
  const domain = Object.entries(transitions).flatMap(([previous, nexts]) => nexts.map((next) => `${previous} ${next}`));
  expect(stored).toEqual(domain.sort());
});

test("F4 the lock spaces of the database are those of locks.ts", async () => {
  const text = (await readMigrations()).map((migration) => migration.text).join("\n");
  const used = [...text.matchAll(/pg_(?:try_)?advisory_xact_lock\((\d+)(?:, (\d+)\))?/g)];
  const classes = Object.values(lockClass) as number[];
  expect(used.length).toBeGreaterThan(5);
  for (const [, space, object] of used) {
    expect(classes).toContain(Number(space));
    if (Number(space) === lockClass.singleton) expect(Object.values(singleton)).toContain(Number(object));
  }
  expect(text).not.toMatch(/pg_(?:try_)?advisory_lock\(/);
});
