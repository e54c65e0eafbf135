/** A push that a forge tells of brings the mirrors of all hosts up to date, whichever of their servers was told. */
import { beforeAll, expect, it } from "vitest";
import type { Sql } from "../../src/postgres/client.js";
import { githubLike } from "../forge/payloads.js";
import { changes, post, signed, TestForge } from "../support/forge.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";

const servers = useServers();
let forge: TestForge;
let one: ServerProcess;
let two: ServerProcess;
let sql: Sql;

beforeAll(async () => {
  forge = await TestForge.start(await servers.directory());
  servers.atEnd(() => forge.stop());
  const databaseUrl = await servers.database();
  const flags = ["--config", forge.config];
  one = await servers.start({ databaseUrl, host: "one", flags });
  two = await servers.start({ databaseUrl, host: "two", flags });
  sql = servers.sql(databaseUrl);
});

it("D3 a push is fetched by every host that has the mirror, whichever server was told", async () => {
  const { upstream, project, name } = await forge.mirrored("everywhere", [one, two]);
  const before = { changes: await changes(one, name), fetches: forge.fetches(project) };
  const commit = await upstream.commit({ "a.txt": "a\n" });
  expect((await post(two, "ours", signed("forgejo", githubLike.push(project)))).status).toBe(202);
  await until("both mirrors have changed", async () => (await changes(one, name)) === before.changes + 2);
  expect(forge.fetches(project)).toBe(before.fetches + 2);
  // what is known since nobody has to ask for: the upstream is gone, so to say
  for (const server of [one, two]) {
    const maxStaleness = { seconds: 3600n };
    const held = await server.client.acquire({ repository: name, host: server.host, maxStaleness });
    expect(held.answer.resolvedCommit).toBe(commit);
    await server.client.releaseAndClean(held);
  }
  expect(forge.fetches(project)).toBe(before.fetches + 2);
}, 60_000);

it("D3 a push of a project that is not here, or on a host without its mirror, fetches nothing", async () => {
  const { upstream, project, name } = await forge.mirrored("single", [one]);
  const [{ mirrors = 0 } = {}] = await sql<{ mirrors: number }[]>`
    select count(*)::int as mirrors from leasehold.mirrors m join leasehold.repositories r on r.id = m.repository_id where r.name = ${name}`;
  await upstream.commit({ "a.txt": "a\n" });
  const all = forge.git.requests.length;
  expect((await post(one, "ours", signed("forgejo", githubLike.push("owner/other")))).status).toBe(202);
  // of the same path, on another forge
  expect((await post(one, "github", signed("github", githubLike.push(project)))).status).toBe(202);
  const before = await changes(one, name);
  expect((await post(two, "ours", signed("forgejo", githubLike.push(project)))).status).toBe(202);
  await until("each mirror has changed", async () => (await changes(one, name)) === before + mirrors);
  const info = forge.git.requests.slice(all).filter((line) => line.includes("info/refs"));
  expect(info).toHaveLength(mirrors);
}, 60_000);
