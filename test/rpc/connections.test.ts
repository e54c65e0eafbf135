/** Sockets: who is closed for saying nothing, and what may be listened on. */

import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import * as http2 from "node:http2";
import { connect as connectSocket, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type ConnectionLimits, defaultConnectionLimits, Listener } from "../../src/rpc/http/listener.js";
import { until } from "../support/until.js";
import { RunningServer } from "./running-server.js";

const limits: Partial<ConnectionLimits> = {
  detectTimeoutMs: 200,
  headersTimeoutMs: 200,
  requestTimeoutMs: 400,
  idleTimeoutMs: 200,
};

describe("a peer that is slow or silent is closed", () => {
  let running: RunningServer;
  beforeAll(async () => {
    running = await RunningServer.start({ connectionLimits: limits });
  });
  afterAll(async () => {
    await running[Symbol.asyncDispose]();
  });

  /** Sends `bytes` and answers after how many milliseconds the server closed. */
  async function closedAfter(bytes: string): Promise<number> {
    const socket = connectSocket(running.port, "127.0.0.1");
    socket.on("error", () => {});
    await once(socket, "connect");
    const begin = performance.now();
    if (bytes) socket.write(bytes, "latin1");
    socket.resume();
    await once(socket, "close");
    return performance.now() - begin;
  }

  test.each([
    ["says nothing", ""],
    ["says half of a preface", "PR"],
    ["begins a head and never ends it", "GET / HTTP/1.1\r\nHost: local"],
    [
      "sends a head byte by byte of a body that never comes",
      "POST /leasehold.v1.WorkspaceService/Acquire HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ],
    ["keeps its connection without using it", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"],
  ])("that %s", async (_what, bytes) => {
    const ms = await closedAfter(bytes);
    expect(ms).toBeGreaterThan(100);
    expect(ms).toBeLessThan(4000);
  });

  test("a call over HTTP/2 whose message never comes is ended, its connection goes on", async () => {
    const session = http2.connect(running.url);
    const path = "/leasehold.v1.WorkspaceService/Acquire";
    const head = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
    const stream = session.request(head);
    stream.on("error", () => {});
    stream.write(Buffer.from([0, 0]));
    await once(stream, "close").catch(() => {});
    const next = session.request({ ":path": "/healthz" });
    const [answer] = (await once(next, "response")) as [http2.IncomingHttpHeaders];
    expect(answer[":status"]).toBe(200);
    session.destroy();
  });

  test("a preface that comes byte by byte is still HTTP/2", async () => {
    const socket = connectSocket(running.port, "127.0.0.1");
    socket.on("error", () => {});
    for (const byte of "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") {
      socket.write(byte);
      await new Promise(setImmediate);
    }
    const [settings] = (await once(socket, "data")) as [Buffer];
    // the type of the server's first frame is SETTINGS
    expect(settings[3]).toBe(4);
    socket.destroy();
  });

  test("sockets beyond the limit are not accepted, and the others go on", async () => {
    await using small = await RunningServer.start({ connectionLimits: { maxSockets: 2, detectTimeoutMs: 10_000 } });
    const open: Socket[] = [];
    for (let count = 0; count < 2; count += 1) {
      const socket = connectSocket(small.port, "127.0.0.1");
      await once(socket, "connect");
      open.push(socket);
    }
    const third = connectSocket(small.port, "127.0.0.1");
    third.on("error", () => {});
    await once(third, "close");
    open[0]?.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const [answer] = (await once(open[0] as Socket, "data")) as [Buffer];
    expect(answer.toString()).toContain("200 OK");
    for (const socket of open) socket.destroy();
  });
});

describe("listening", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "leasehold-listen-"));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const listener = () => new Listener((_request, response) => void response.destroy(), defaultConnectionLimits);

  test("a unix socket belongs to its owner alone, and goes when the server does", async () => {
    const path = join(directory, "s.sock");
    const one = listener();
    await one.listenUnix(path);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    one.destroy();
    await until("the file is gone", () =>
      stat(path).then(
        () => false,
        () => true,
      ),
    );
  });

  test("a socket on which a server answers is left alone", async () => {
    const path = join(directory, "s.sock");
    const first = listener();
    await first.listenUnix(path);
    await expect(listener().listenUnix(path)).rejects.toThrow("another server listens");
    const socket = connectSocket(path);
    await once(socket, "connect");
    socket.destroy();
    first.destroy();
  });

  test("a socket that a killed server left is replaced", async () => {
    const path = join(directory, "s.sock");
    const script = join(directory, "killed.mjs");
    await writeFile(
      script,
      `import net from "node:net"; net.createServer().listen(process.argv[2], () => process.send("up"));`,
    );
    const child = fork(script, [path]);
    await once(child, "message");
    child.kill("SIGKILL");
    await once(child, "exit");
    expect((await stat(path)).isSocket()).toBe(true);
    const next = listener();
    await next.listenUnix(path);
    next.destroy();
  });

  test("a file that is no socket is never removed", async () => {
    const path = join(directory, "precious");
    await writeFile(path, "data");
    await expect(listener().listenUnix(path)).rejects.toThrow("is no socket");
    expect((await stat(path)).size).toBe(4);
  });

  test("a port that is in use is one clear line", async () => {
    const holder = createServer().listen(0, "127.0.0.1");
    await once(holder, "listening");
    const { port } = holder.address() as { port: number };
    const starting = RunningServer.start({ listen: [{ kind: "tcp", host: "127.0.0.1", port }] });
    await expect(starting).rejects.toThrow(`listen: 127.0.0.1:${port} is in use`);
    holder.close();
  });
});
