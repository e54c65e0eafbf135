/** No bytes end the process, whoever sends them. The server runs in a process of its own, where nothing is caught. */
import { randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import * as http2 from "node:http2";
import { connect as connectSocket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/until.js";
import { ServedProcess } from "./served-process.js";

const service = "/leasehold.v1.WorkspaceService/";
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

let served: ServedProcess;
beforeAll(async () => {
  served = await ServedProcess.start();
}, 60_000);
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

/** The process lives, answers, and has let go of every call. */
async function expectWell(): Promise<void> {
  expect(served.isAlive, served.stderr.slice(-2000)).toBe(true);
  expect((await fetch(`http://127.0.0.1:${served.port}/healthz`)).status).toBe(200);
  await until("no call is left", async () => {
    const { watching, unary, streams } = await served.held();
    return watching + unary + streams === 0;
  });
}

/** Whatever comes back until the server closes or falls silent. */
async function raw(bytes: string | Buffer): Promise<string> {
  const socket = connectSocket(served.port, "127.0.0.1");
  socket.on("error", () => {});
  let answer = "";
  socket.on("data", (chunk) => (answer += chunk.toString("latin1")));
  socket.write(bytes);
  await Promise.race([
    once(socket, "close"),
    until("a head came", () => answer.includes("\r\n\r\n"), 3000).catch(() => {}),
  ]);
  socket.destroy();
  return answer;
}

function session(path?: string): http2.ClientHttp2Session {
  const created = path
    ? http2.connect("http://localhost", { createConnection: () => connectSocket(path) })
    : http2.connect(`http://127.0.0.1:${served.port}`);
  created.on("error", () => {});
  return created;
}

/** The grpc-status, or the HTTP status of an answer without one, or `reset`. */
function callH2(
  client: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body = Buffer.from([0, 0, 0, 0, 0]),
): Promise<string> {
  const stream = client.request({
    ":method": "POST",
    ":path": `${service}ListActive`,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  let status = "reset";
  stream.on("error", () => {});
  stream.on("response", (head) => (status = `${head["grpc-status"] ?? head[":status"]}`));
  stream.on("trailers", (trailers) => (status = `${trailers["grpc-status"]}`));
  stream.resume();
  stream.end(body);
  return new Promise((resolve) => stream.once("close", () => resolve(status)));
}

describe("a Host header that is no host", () => {
  const hosts = ["[", "x:99999", "%2Ftmp%2Fx.sock", "a b", "", "\u00ff", "x".repeat(10_000)];

  test.each(hosts.map((host) => [host.slice(0, 20), host] as const))(
    "%j over HTTP/1.1 is answered",
    async (_shown, host) => {
      const body = "{}";
      const answer = await raw(
        `POST ${service}ListActive HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n${body}`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 (403|400|431)/);
      await expectWell();
    },
  );

  test.each(hosts.slice(0, 3))("%j as :authority over HTTP/2 is refused", async (authority) => {
    const client = session();
    expect(await callH2(client, { ":authority": authority })).toBe("7");
    client.close();
    await expectWell();
  });

  test("a request of HTTP/1.0 without any is refused", async () => {
    const answer = await raw(
      `POST ${service}ListActive HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
    );
    expect(answer).toContain("ORIGIN_NOT_ALLOWED");
    await expectWell();
  });

  test("F2 over a unix socket, the authority that Python's grpcio sends is served", async () => {
    const client = session(served.socketPath);
    expect(await callH2(client, { ":authority": served.socketPath.slice(1).replaceAll("/", "%2F") })).toBe("0");
    client.close();
    await expectWell();
  });
});

describe("odd requests", () => {
  test.each([
    ["an upgrade", "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"],
    [
      "an upgrade to HTTP/2",
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ],
    ["CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["an absolute URL", `POST http://[/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n`],
    [
      "an expectation",
      `POST ${service}ListActive HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
    ],
    [
      "a query that is none",
      `GET ${service}ListActive?connect=v1&encoding=json&message=%7B&base64=1&compression=gzip HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    ],
    ["garbage", randomBytes(300)],
    ["a preface and garbage", Buffer.concat([preface, randomBytes(300)])],
    ["half a preface and a head", "PRI * HTTP/1.1\r\nHost: x\r\n\r\n"],
  ])("%s does no harm", async (_what, bytes) => {
    await raw(bytes);
    await expectWell();
  });

  test("CONNECT over HTTP/2, without a path, does no harm", async () => {
    const client = session();
    const stream = client.request({ ":method": "CONNECT", ":authority": "x:1" });
    stream.on("error", () => {});
    stream.resume();
    stream.end();
    await once(stream, "close").catch(() => {});
    client.destroy();
    await expectWell();
  });

  test("a reset while the answer is made, 300 times on one connection, does no harm", async () => {
    const client = session();
    for (let count = 0; count < 300; count += 1) {
      const stream = client.request({
        ":method": "POST",
        ":path": `${service}Watch`,
        "content-type": "application/grpc",
        te: "trailers",
      });
      stream.on("error", () => {});
      stream.end(Buffer.from([0, 0, 0, 0, 0]));
      setTimeout(() => stream.close(randomInt(14)), randomInt(5));
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    client.destroy();
    await expectWell();
  });
});

test("2,000 random requests over HTTP/2 and 200 random sockets end nothing, leak nothing and print no stack", async () => {
  for (let round = 0; round < 20; round += 1) {
    const client = session();
    for (let count = 0; count < 100; count += 1) throwStone(client);
    const sockets = Array.from({ length: 10 }, () => throwBytes());
    await new Promise((resolve) => setTimeout(resolve, 40));
    if (randomInt(2)) client.destroy();
    else client.close();
    for (const socket of sockets) {
      if (randomInt(2)) socket.destroy();
      else socket.resetAndDestroy();
    }
    setTimeout(() => client.destroy(), 200);
  }
  await expectWell();
  for (const line of served.stderr.split("\n").filter(Boolean)) {
    expect(line).toMatch(/^\{"level":"(info|warn|debug)"/);
  }
}, 60_000);

const pick = <T>(choices: readonly T[]): T => choices[randomInt(choices.length)] as T;

function frame(flag: number, length: number, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, body]);
}

const bodies = [
  Buffer.alloc(0),
  Buffer.alloc(5),
  frame(0, 10, Buffer.alloc(3)),
  frame(1, 3, Buffer.from("abc")),
  frame(0, 4, randomBytes(4)),
  Buffer.concat([Buffer.alloc(5), Buffer.alloc(5)]),
  frame(0, 0xffffffff, Buffer.alloc(4)),
  frame(2, 0, Buffer.alloc(0)),
  randomBytes(50),
  Buffer.from("{}"),
  Buffer.from('{"ttl":"x"}'),
  frame(0, 2, Buffer.from([0x0a, 0xff])),
];
const types = [
  "grpc",
  "grpc+proto",
  "grpc+json",
  "grpc-web",
  "grpc-web-text",
  "proto",
  "json",
  "connect+proto",
  "connect+json",
  "x",
];
const oddHeaders: readonly http2.OutgoingHttpHeaders[] = [
  ...["1x", "-5S", "99999999S", "1n", ""].map((value) => ({ "grpc-timeout": value })),
  ...["gzip", "br", "zstd", ""].map((value) => ({ "grpc-encoding": value })),
  ...["abc", "-1", "5", "99999999999"].map((value) => ({ "connect-timeout-ms": value })),
  { "connect-protocol-version": "2" },
  { "content-encoding": "gzip" },
  { "connect-content-encoding": "gzip" },
  { "x-bin-bin": "!!!" },
  { "x-request-id": "\u00e9" },
  { authorization: "Bearer" },
];

function throwStone(client: http2.ClientHttp2Session): void {
  if (client.destroyed || client.closed) return;
  const stream = client.request({
    ":method": pick(["POST", "POST", "GET", "PUT"]),
    ":path":
      service +
      pick(["Acquire", "Watch", "Heartbeat", "ListActive", "Nope"]) +
      pick(["", "", "?connect=v1&encoding=json&message=%7B", "?%"]),
    "content-type": `application/${pick(types)}`,
    te: "trailers",
    ...(randomInt(2) ? pick(oddHeaders) : {}),
  });
  stream.on("error", () => {});
  stream.resume();
  const body = pick(bodies);
  const way = randomInt(6);
  if (way > 1) return void stream.end(body);
  stream.write(body);
  setTimeout(() => (way ? stream.close(randomInt(14)) : stream.end(pick(bodies))), randomInt(5));
}

function throwBytes() {
  const socket = connectSocket(served.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.resume();
  const head = `POST ${service}Acquire HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/${pick(types)}\r\nTransfer-Encoding: chunked\r\n\r\n`;
  const chunks = ["5\r\nhel", "zz\r\n", "0\r\n\r\n"];
  socket.write(
    pick([randomBytes(200), Buffer.concat([preface, randomBytes(randomInt(300))]), Buffer.from(head + pick(chunks))]),
  );
  return socket;
}
