import { afterAll, beforeAll, expect, it } from "vitest";
import { connectPool } from "../../src/postgres/client.js";
import { createDatabase, type TestDatabase } from "../support/database.js";

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});

afterAll(() => database.drop());

it.each([
  [
    "percent-encoded in the host's place",
    ({ host, port, user }: TestDatabase["connection"], name: string) =>
      `postgres://${user}@${encodeURIComponent(host)}:${port}/${name}`,
  ],
  [
    "as a parameter",
    ({ host, port, user }: TestDatabase["connection"], name: string) =>
      `postgres://${user}@localhost:${port}/${name}?host=${encodeURIComponent(host)}`,
  ],
])("a database URL names a unix socket's directory %s", async (_how, url) => {
  const { connection } = database;
  const sql = connectPool({ url: url(connection, connection.database) }, { max: 1, name: "test" });
  const [row] = await sql<{ name: string }[]>`select current_database() as name`;
  expect(row?.name).toBe(connection.database);
  await sql.end({ timeout: 1 });
});
