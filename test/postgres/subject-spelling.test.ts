/** A subject has one URL, also where it was stored under another spelling. */
import { expect, test } from "vitest";
import { connectPool } from "../../src/postgres/client.js";
import { migrate, readMigrations } from "../../src/postgres/migrate.js";
import { createDatabase } from "../support/database.js";

/** The last migration before spellings were one. */
const earlier = 27;

const page = (project: string) => `https://git.example.com/Base/${project}/issues/5`;
const subject = (project: string) => ({ url: page(project), forge: "ours", project, kind: "ISSUE", number: 5 });

test("C1 D3 subjects that were stored in another spelling are one, and the later word of their forge counts", async () => {
  const database = await createDatabase();
  const sql = connectPool(database.connection, { max: 1, name: "test" });
  try {
    await sql.unsafe("drop schema leasehold cascade");
    await sql.unsafe("create schema leasehold");
    await sql.unsafe(`create table migrations (id int primary key, name text not null, checksum text not null,
      apply_time timestamptz not null default clock_timestamp())`);
    for (const { id, name, checksum, text } of (await readMigrations()).filter((one) => one.id <= earlier)) {
      await sql.unsafe(text);
      await sql`insert into migrations (id, name, checksum) values (${id}, ${name}, ${checksum})`;
    }
    for (const [index, project] of ["Acme/Widget", "acme/widget", "ACME/widget"].entries()) {
      await sql`insert into sessions (repository, caller, binding, subject, state, workspace_id, fence, host, path, labels)
        values ('demo', '', ${`b${index}`}, ${sql.json(subject(project))}, 'SUSPENDED', 1, ${index}, 'here', '/w', '{}')`;
    }
    await sql`insert into sessions (repository, caller, binding, state, workspace_id, fence, host, path, labels)
      values ('demo', '', 'none', 'SUSPENDED', 1, 9, 'here', '/w', '{}')`;
    await sql`insert into subjects (url, state, check_time, close_time) values
      (${page("Acme/Widget")}, 'OPEN', now() - interval '2 hours', null),
      (${page("acme/widget")}, 'OPEN', now() - interval '3 hours', null),
      (${page("ACME/widget")}, 'CLOSED', now() - interval '1 hour', now() - interval '1 hour')`;
    const event = { kind: "subject", project: "Acme/Widget", subject: "ISSUE", number: 5, state: "CLOSED" };
    const content = { forgeUrl: "https://git.example.com/Base", subjectUrls: [page("Acme/Widget")], event };
    await sql`insert into forge_deliveries (forge, delivery_id, digest, lane, content) values ('ours', 'd', '', '', ${sql.json(content)})`;

    await migrate(database.connection);

    const plain = page("acme/widget");
    const sessions = await sql<{ url: string | null }[]>`select subject ->> 'url' as url from sessions order by id`;
    expect(sessions.map(({ url }) => url)).toEqual([plain, plain, plain, null]);
    expect(await sql`select url, state, close_time is null as open from subjects`).toEqual([
      { url: plain, state: "CLOSED", open: false },
    ]);
    const [delivery] = await sql<{ urls: unknown }[]>`select content -> 'subjectUrls' as urls from forge_deliveries`;
    expect(delivery?.urls).toEqual([plain]);
  } finally {
    await sql.end({ timeout: 1 });
    await database.drop();
  }
});
