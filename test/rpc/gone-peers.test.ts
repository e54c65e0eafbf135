/** An answer to a peer that has gone waits for nobody, over either version of HTTP. */
import { once } from "node:events";
import * as http from "node:http";
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import type { NodeResponse } from "../../src/rpc/http/listener.js";
import { PeerGone, writeResponse } from "../../src/rpc/http/node-response.js";
import { answerText } from "../../src/rpc/http/plain-answer.js";

async function* endless() {
  for (;;) yield new Uint8Array(1_024);
}

/** What becomes of an answer that begins when its peer has gone already. */
async function answered(response: NodeResponse): Promise<unknown> {
  await once(response, "close");
  answerText(response, 200, "nobody reads this");
  const answer = { status: 200, header: new Headers(), body: endless() };
  const outcome = writeResponse(answer, response, { written: () => undefined } as never).catch(
    (error: unknown) => error,
  );
  return await Promise.race([outcome, new Promise((resolve) => setTimeout(resolve, 3_000, "waits").unref())]);
}

test("A4 an answer over HTTP/2 to a peer that has gone before it begins ends at once", async () => {
  let outcome: Promise<unknown> = Promise.resolve();
  const server = http2.createServer((_, response) => {
    outcome = answered(response);
    client.destroy();
  });
  server.on("sessionError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  client.on("error", () => undefined);
  const request = client.request({ ":path": "/" });
  request.on("error", () => undefined);
  await new Promise((resolve) => request.once("close", resolve));
  await expect.poll(() => outcome, { timeout: 5_000 }).toBeInstanceOf(PeerGone);
  server.close();
});

test("A4 an answer over HTTP/1.1 to a peer that has gone before it begins ends at once", async () => {
  let outcome: Promise<unknown> = Promise.resolve();
  const server = http.createServer((_, response) => {
    outcome = answered(response);
    request.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const request = http.get({ port: (server.address() as AddressInfo).port, host: "127.0.0.1" });
  request.on("error", () => undefined);
  await new Promise((resolve) => request.once("close", resolve));
  await expect.poll(() => outcome, { timeout: 5_000 }).toBeInstanceOf(PeerGone);
  server.close();
});
