import postgres from "postgres";
import { expect, it } from "vitest";
import { createDatabase } from "./database.js";

it("gives every caller a database of its own, and takes it away with whoever is still connected", async () => {
  const [first, second] = await Promise.all([createDatabase(), createDatabase()]);
  const sql = postgres({ ...first.connection, max: 1 });
  await sql`create table own (id int)`;
  await first.drop();
  await expect(sql`select * from own`.then()).rejects.toThrow();
  await sql.end({ timeout: 1 });

  const other = postgres({ ...second.connection, max: 1 });
  const tables = await other`select 1 from pg_tables where tablename = 'own'`;
  expect(tables).toHaveLength(0);
  await other.end({ timeout: 1 });
  await second.drop();
});
