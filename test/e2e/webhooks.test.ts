/** Webhooks on a real server: who is listened to, what is answered, and that every event is followed once. */
import { once } from "node:events";
import { connect } from "node:http2";
import { beforeAll, beforeEach, expect, it } from "vitest";
import type { Sql } from "../../src/postgres/client.js";
import { githubLike, gitlab, message, type Sent } from "../forge/payloads.js";
import { closing, followed, post, secret, signed, TestForge } from "../support/forge.js";
import { type ServerProcess, useServers } from "../support/server.js";

const servers = useServers();
let forge: TestForge;
let server: ServerProcess;
let sql: Sql;

beforeAll(async () => {
  forge = await TestForge.start(await servers.directory());
  servers.atEnd(() => forge.stop());
  const databaseUrl = await servers.database();
  server = await servers.start({ databaseUrl, flags: ["--config", forge.config] });
  sql = servers.sql(databaseUrl);
});
beforeEach(async () => {
  await sql`truncate leasehold.forge_deliveries`;
});

const deliveries = () =>
  sql<{ forge: string; content: { event: unknown } }[]>`select * from leasehold.forge_deliveries order by id`;

it("D3 an event is answered with 202 when it is stored, and followed; the same again is 204, and nothing more", async () => {
  const sent = closing("owner/name", 7, "one");
  expect(await post(server, "ours", sent)).toMatchObject({ status: 202, text: "accepted\n" });
  expect(await deliveries()).toMatchObject([
    {
      forge: "ours",
      delivery_id: "one",
      content: { event: { kind: "subject", number: 7, state: "CLOSED", project: "owner/name" } },
    },
  ]);
  expect((await post(server, "ours", sent)).status).toBe(204);
  // the name of a delivery is not signed: under another one it is the same
  const renamed = { ...sent, headers: { ...sent.headers, "x-forgejo-delivery": "two" } };
  expect((await post(server, "ours", renamed)).status).toBe(204);
  expect(await followed(sql)).toBe(1);
  // our own words, and nothing of the message as it came
  expect(JSON.stringify(await deliveries())).not.toMatch(/sender|Title/);
});

it("D3 each kind of forge is listened to in its own way", async () => {
  const sent: readonly (readonly [string, Sent])[] = [
    ["gitea", signed("gitea", githubLike.pull("o/n", "closed", true))],
    ["github", signed("github", githubLike.issue("o/n", "reopened"))],
    ["gitlab", signed("gitlab", gitlab.merge("g/s/n", "merge"))],
    ["ours", signed("forgejo", githubLike.deleted("o/n", "topic"))],
  ];
  for (const [name, one] of sent) expect((await post(server, name, one)).status, name).toBe(202);
  expect(await followed(sql)).toBe(4);
  const events = (await deliveries()).map(({ content }) => content.event);
  expect(events).toMatchObject([
    { kind: "subject", state: "MERGED", subject: "PULL_REQUEST" },
    { kind: "subject", state: "OPEN", subject: "ISSUE" },
    { kind: "subject", state: "MERGED", project: "g/s/n" },
    { kind: "branch-deleted", branch: "topic" },
  ]);
});

it("D3 a wrong, missing or truncated signature is 401, of another forge's secret too; nothing is stored", async () => {
  const right = closing("owner/name", 7);
  const signature = right.headers["x-forgejo-signature"] ?? "";
  const kept = ["content-type", "x-forgejo-event", "x-forgejo-delivery"];
  const missing = Object.fromEntries(Object.entries(right.headers).filter(([name]) => kept.includes(name)));
  const wrong: readonly Sent[] = [
    { ...right, headers: missing },
    ...["", signature.slice(0, -1), signature.slice(0, 32), `0${signature.slice(1)}`, `${signature}00`].map(
      (value) => ({
        ...right,
        headers: { ...missing, "x-forgejo-signature": value === signature ? "x" : value },
      }),
    ),
    { ...right, body: right.body.replace("closed", "opened") },
    message("forgejo", "another secret", githubLike.issue("owner/name", "closed")),
    // not even looked at
    { headers: missing, body: "{" },
  ];
  for (const one of wrong)
    expect(await post(server, "ours", one)).toMatchObject({ status: 401, text: expect.not.stringContaining(secret) });
  expect((await post(server, "gitlab", message("gitlab", "another", gitlab.push("o/n")))).status).toBe(401);
  expect(await deliveries()).toEqual([]);
  expect(server.log.join("\n")).not.toContain(secret);
});

it("D3 only forges that are configured with a secret may send, by POST, as JSON", async () => {
  const sent = closing("owner/name", 7);
  for (const name of ["mute", "nobody", "", "ours/", "ours/x", "%6furs", "..", "ours%00"]) {
    expect((await post(server, name, sent)).status, name).toBe(404);
  }
  for (const method of ["GET", "PUT", "DELETE", "OPTIONS"]) {
    const answer = await post(server, "ours", { headers: {}, body: "" }, method);
    expect(answer, method).toMatchObject({ status: 405, headers: { allow: "POST" } });
  }
  for (const type of ["application/x-www-form-urlencoded", "text/plain", "", "application/jsonx"]) {
    const answer = await post(server, "ours", { ...sent, headers: { ...sent.headers, "content-type": type } });
    expect(answer, type).toMatchObject({ status: 415, text: expect.stringContaining("application/json") });
  }
  const charset = { ...sent.headers, "content-type": "application/json; charset=utf-8" };
  expect((await post(server, "ours", { ...sent, headers: charset })).status).toBe(202);
});

it("D3 events that nothing is done for are 204, and signed ones that are no events 400", async () => {
  for (const named of [
    githubLike.issue("o/n", "opened"),
    ["ping", { zen: "Mind your words, they are important." }] as const,
    ["release", { action: "published" }] as const,
  ]) {
    expect((await post(server, "github", signed("github", named))).status, named[0]).toBe(204);
  }
  expect((await post(server, "gitlab", signed("gitlab", ["Note Hook", { object_kind: "note" }]))).status).toBe(204);
  for (const payload of [{ action: "closed" }, { action: 7 }, []]) {
    expect((await post(server, "github", signed("github", ["issues", payload]))).status).toBe(400);
  }
  expect(await deliveries()).toEqual([]);
});

it("D3 HTTP/2 is listened to as well, and a Host that is none harms nobody", async () => {
  const { headers, body } = closing("owner/name", 8);
  const session = connect(server.address);
  const stream = session.request({ ":method": "POST", ":path": "/webhooks/ours?x=1", ...headers });
  stream.end(body);
  const [head] = (await once(stream, "response")) as [Record<string, unknown>];
  expect(head[":status"]).toBe(202);
  session.close();
  const odd = closing("owner/name", 9);
  expect((await post(server, "ours", { ...odd, headers: { ...odd.headers, host: "[" } })).status).toBe(202);
  expect(await followed(sql)).toBe(2);
});

it("D3 an answer waits for nothing but its being stored: following may take as long as it takes", async () => {
  const holder = servers.sql(server.databaseUrl, 1);
  await holder.unsafe("begin");
  try {
    // whoever follows what is said of a subject has to wait for these
    await holder.unsafe("lock table leasehold.subjects, leasehold.sessions in access exclusive mode");
    for (let number = 1; number <= 11; number++) {
      expect((await post(server, "ours", closing("owner/name", number))).status).toBe(202);
    }
    const done = await sql`select 1 from leasehold.forge_deliveries where done_time is not null`;
    expect([(await deliveries()).length, done.length]).toEqual([11, 0]);
  } finally {
    await holder.unsafe("rollback");
  }
  expect(await followed(sql)).toBe(11);
});

it("D3 what is said of one subject is followed in its order, all of it", async () => {
  const words = ["closed", "reopened", "closed", "reopened", "closed"];
  for (const word of words) {
    expect((await post(server, "ours", signed("forgejo", githubLike.issue("owner/name", word)))).status).toBe(202);
  }
  await followed(sql);
  const done = await sql<{ state: string }[]>`
    select content #>> '{event,state}' as state from leasehold.forge_deliveries order by done_time`;
  expect(done.map(({ state }) => state)).toEqual(["CLOSED", "OPEN", "CLOSED", "OPEN", "CLOSED"]);
});
