/** Without authentication, only local callers are served: a web page cannot call, whatever its name resolves to. */
import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkOrigin } from "../../src/rpc/http/origin.js";
import { RunningServer } from "./running-server.js";

let running: RunningServer;
beforeAll(async () => {
  running = await RunningServer.start({ unixSocket: true });
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
});

interface Answer {
  readonly status: number;
  readonly reason: string | undefined;
}

/** GetServerInfo by plain HTTP/1.1, with headers that a browser would send. */
function call(headers: Record<string, string>, overSocket = false): Promise<Answer> {
  const target = overSocket ? { socketPath: running.socketPath } : { host: "127.0.0.1", port: running.port };
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        ...target,
        path: "/leasehold.v1.AdminService/GetServerInfo",
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
      },
      async (response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of response) chunks.push(chunk as Buffer);
        const body = JSON.parse(Buffer.concat(chunks).toString()) as { details?: { debug: { reason: string } }[] };
        resolve({ status: response.statusCode ?? 0, reason: body.details?.[0]?.debug.reason });
      },
    );
    request.on("error", reject);
    request.end("{}");
  });
}

const refused = { status: 403, reason: "ORIGIN_NOT_ALLOWED" };
const served = { status: 200, reason: undefined };

describe("over TCP", () => {
  test.each(["localhost", "LOCALHOST:1", "app.localhost:7420", "127.0.0.1", "127.1.2.3:80", "[::1]:7420"])(
    "Host %s is served",
    async (host) => expect(await call({ host })).toEqual(served),
  );

  test.each([
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.1",
    "[::2]",
    "[",
    "a b",
    "x:99999",
  ])("Host %j is refused", async (host) => expect(await call({ host })).toEqual(refused));

  test("an Origin of another site is refused, this server's own is served", async () => {
    const host = `127.0.0.1:${running.port}`;
    for (const origin of ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1", "garbage"]) {
      expect(await call({ host, origin }), origin).toEqual(refused);
    }
    expect(await call({ host, origin: `http://${host}` })).toEqual(served);
  });
});

test("a unix socket is exempt: no browser reaches it", async () => {
  expect(await call({ host: "evil.example", origin: "https://evil.example" }, true)).toEqual(served);
  expect(await call({ host: "tmp%2Fx%2Fs.sock" }, true)).toEqual(served);
});

test("the host of the listen address is a right name too", () => {
  const request = { authority: "build-box:7420", origin: null, transport: "tcp" as const };
  expect(() => checkOrigin({ ...request, listenHost: "build-box" })).not.toThrow();
  expect(() => checkOrigin({ ...request, listenHost: "127.0.0.1" })).toThrow();
});
