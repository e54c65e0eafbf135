/** Webhooks at the edge of the server: what is answered when they cannot be stored, or break off. */
import { connect } from "node:net";
import { expect, it } from "vitest";
import { Failure } from "../../src/domain/failure.js";
import type { WebhookReceiver } from "../../src/rpc/http/webhooks.js";
import { until } from "../support/until.js";
import { RunningServer } from "./running-server.js";

const forge = { name: "ours", kind: "gitea", url: "https://x" } as const;

function receiver(receive: WebhookReceiver["receive"]): WebhookReceiver {
  return { sender: (name) => (name === "ours" ? forge : undefined), receive };
}

const send = (url: string, body = "{}") =>
  fetch(`${url}/webhooks/ours`, { method: "POST", headers: { "content-type": "application/json" }, body });

it("D3 what cannot be stored now is 503 and may be sent again; nobody is told why but the log", async () => {
  const errors = [
    new Failure("DATABASE_UNAVAILABLE", "the database cannot be reached"),
    new Error("password is s3cret"),
  ];
  await using running = await RunningServer.start({
    webhooks: receiver(async () => {
      throw errors.shift();
    }),
  });
  for (let time = 0; time < 2; time++) {
    const answer = await send(running.url);
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toBe("10");
    expect(await answer.text()).toBe("this cannot be stored now\n");
  }
  expect(running.lines.filter(({ level }) => level === "error")).toHaveLength(2);
});

it("D3 a message that breaks off is nothing, and its memory is free again", async () => {
  let received = 0;
  await using running = await RunningServer.start({
    webhooks: receiver(async () => {
      received++;
      return { kind: "stored" };
    }),
  });
  // together far more than is held at one time
  for (let round = 0; round < 10; round++) {
    const sockets = Array.from({ length: 16 }, () => {
      const socket = connect(running.port, "127.0.0.1");
      socket.on("error", () => {});
      socket.write(
        "POST /webhooks/ours HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n",
      );
      socket.write(Buffer.alloc(900_000, "x"));
      return socket;
    });
    await Promise.all(
      sockets.map(
        (socket) =>
          new Promise<void>((resolve) => (socket.writableLength === 0 ? resolve() : socket.once("drain", resolve))),
      ),
    );
    for (const socket of sockets) socket.destroy();
    await until("their sockets are gone", async () => sockets.every(({ destroyed }) => destroyed));
  }
  await until("one is taken again", async () => (await send(running.url)).status === 202);
  expect(received).toBe(1);
});

it("D3 without any forge that may send, and on other paths, there is nothing", async () => {
  await using running = await RunningServer.start();
  expect((await send(running.url)).status).toBe(404);
  await using listening = await RunningServer.start({ webhooks: receiver(async () => ({ kind: "ignored" })) });
  expect((await fetch(`${listening.url}/webhooks`, { method: "POST" })).status).toBe(404);
  expect((await fetch(`${listening.url}/healthz`)).status).toBe(200);
  expect((await send(listening.url)).status).toBe(204);
});
