/** Webhooks that are too big, too many, or answered by a server that dies at once: nothing is harmed, nothing is lost. */
import { connect, type Socket } from "node:net";
import { beforeAll, beforeEach, expect, it } from "vitest";
import type { Sql } from "../../src/postgres/client.js";
import { closing, followed, post, signed, TestForge } from "../support/forge.js";
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

const mebibyte = 1024 * 1024;
const padded = (bytes: number) => signed("forgejo", ["issues", { padding: "x".repeat(bytes), action: "opened" }]);

it("D3 5 MB are 413, with and without a length that says so; a mebibyte is not", async () => {
  const big = padded(5_000_000);
  const length = { "content-length": String(big.body.length) };
  // whether the connection is to end with the answer or not, the answer arrives
  for (let time = 0; time < 6; time++) {
    const connection = time % 2 === 0 ? "close" : "keep-alive";
    for (const framing of [length, { "transfer-encoding": "chunked" }]) {
      const answer = await post(server, "ours", { ...big, headers: { ...big.headers, ...framing, connection } });
      expect(answer).toMatchObject({ status: 413, text: "at most 1048576 bytes\n" });
    }
  }
  expect((await post(server, "ours", padded(mebibyte - 100))).status).toBe(204);
  expect((await post(server, "ours", padded(mebibyte))).status).toBe(413);
});

it.each([
  ["a length", `content-length: ${1e12}`, (chunk: Buffer) => chunk],
  [
    "chunks",
    "transfer-encoding: chunked",
    (chunk: Buffer) => Buffer.concat([Buffer.from("10000\r\n"), chunk, Buffer.from("\r\n")]),
  ],
])("D3 a body of %s that never ends is answered, and cut off before it was read", async (_what, header, framed) => {
  const socket = connect(server.port, "127.0.0.1");
  let answer = "";
  socket.setEncoding("latin1").on("data", (text: string) => (answer += text));
  socket.on("error", () => {});
  const closed = ended(socket);
  socket.write(`POST /webhooks/ours HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${header}\r\n\r\n`);
  const sent = await pour(socket, framed(Buffer.alloc(65_536, "x")));
  await closed;
  expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  // what the kernel's buffers hold besides
  expect(sent).toBeLessThan(64 * mebibyte);
});

/** However. */
function ended(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

/** Writes until the other side has had enough. Answers how many bytes that were. */
function pour(socket: Socket, chunk: Buffer): Promise<number> {
  let sent = 0;
  const more = () => {
    do sent += chunk.length;
    while (socket.write(chunk) && !socket.destroyed && sent < 1024 * mebibyte);
  };
  socket.on("drain", more);
  more();
  return ended(socket).then(() => sent);
}

it("D3 1,000 at once are all stored and followed, and calls go on meanwhile", async () => {
  const count = 1_000;
  const wave = Array.from({ length: count }, (_, index) => post(server, "ours", closing("owner/name", index + 1)));
  const calls = Array.from({ length: 20 }, () => server.client.admin.getServerInfo({}));
  const answers = await Promise.all(wave);
  await Promise.all(calls);
  expect(answers.filter(({ status }) => status !== 202)).toEqual([]);
  expect(await followed(sql)).toBe(count);
  // and again, while they are known
  expect((await post(server, "ours", closing("owner/name", 1))).status).toBe(202);
}, 60_000);

it("D3 bodies that together are too much are 503, and the next one is taken", async () => {
  const sockets: Socket[] = [];
  const answers: string[] = [];
  const closes: Promise<unknown>[] = [];
  const head = "POST /webhooks/ours HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
  for (let index = 0; index < 80; index++) {
    const socket = connect(server.port, "127.0.0.1");
    socket.setEncoding("latin1").on("data", (text: string) => (answers[index] = (answers[index] ?? "") + text));
    socket.on("error", () => {});
    sockets.push(socket);
    // all but the end of the body
    socket.write(`${head}content-length: ${mebibyte}\r\n\r\n`);
    socket.write(Buffer.alloc(mebibyte - 1, "x"));
    closes.push(ended(socket));
  }
  await Promise.race(closes);
  const refused = answers.filter((answer) => answer !== undefined);
  expect(refused.length).toBeGreaterThan(0);
  for (const answer of refused) expect(answer).toMatch(/^HTTP\/1\.1 503 [\s\S]*retry-after: 10/i);
  for (const socket of sockets) socket.destroy();
  await Promise.all(closes);
  const after = async () => (await post(server, "ours", closing("owner/name", 5))).status;
  let status = await after();
  for (let time = 0; status === 503 && time < 100; time++) status = await after();
  expect(status).toBe(202);
});

it("D3 kill -9 right after the answer loses nothing: what was accepted is followed after the restart", async () => {
  const first = await servers.start({ flags: ["--config", forge.config], databaseUrl: await servers.database() });
  const own = servers.sql(first.databaseUrl);
  const wave = Array.from({ length: 200 }, (_, index) => post(first, "ours", closing("owner/name", index + 1)));
  const accepted: number[] = [];
  await new Promise<void>((resolve) => {
    for (const [index, answer] of wave.entries()) {
      answer.then(
        ({ status }) => {
          if (status === 202) accepted.push(index + 1);
          if (accepted.length === 20) resolve();
        },
        () => {}, // cut off: the forge would send it again
      );
    }
  });
  await first.kill9();
  await Promise.allSettled(wave);
  const known = async () => {
    const rows = await own<{ number: number }[]>`
      select (content #>> '{event,number}')::int as number from leasehold.forge_deliveries where done_time is not null`;
    return rows.map(({ number }) => number);
  };
  expect((await known()).length).toBeLessThan(200);
  await first.start();
  await followed(own);
  const done = await known();
  expect(accepted.filter((number) => !done.includes(number))).toEqual([]);
  // what is sent again because its answer was lost is there once
  expect((await post(first, "ours", closing("owner/name", 1))).status).toBe(202);
}, 60_000);
