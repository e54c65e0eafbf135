/**
 * Owns the sockets of one listen address: cleartext HTTP/2 with prior knowledge and HTTP/1.1 on the same port.
 *
 * Invariants:
 * 1. A socket that says nothing, or never finishes its head, or no longer answers pings, is closed.
 * 2. No error of a socket or session leaves this file.
 * 3. After `destroy` nothing of it keeps the process alive.
 */
import * as http from "node:http";
import * as http2 from "node:http2";
import * as net from "node:net";
import { pause } from "../pause.js";
import { bindUnixSocket } from "./unix-socket.js";

export type NodeRequest = http.IncomingMessage | http2.Http2ServerRequest;
export type NodeResponse = http.ServerResponse | http2.Http2ServerResponse;
/** Says whether it took the stream; otherwise it becomes a request. */
export type StreamHandler = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => boolean;
export type NodeHandler = (request: NodeRequest, response: NodeResponse) => void;

/** All times in milliseconds. */
export interface ConnectionLimits {
  /** How long a new socket may take to show its protocol. */
  readonly detectTimeoutMs: number;
  /** How long the head of an HTTP/1.1 request may take. */
  readonly headersTimeoutMs: number;
  /** How long a whole request may take to arrive, and its answer to be taken, where these are one message each. */
  readonly requestTimeoutMs: number;
  /** How often an HTTP/2 peer is pinged. */
  readonly pingIntervalMs: number;
  /** How long it may take to answer. */
  readonly pingTimeoutMs: number;
  /** How long an idle HTTP/1.1 connection is kept. */
  readonly idleTimeoutMs: number;
  readonly maxSockets: number;
  readonly maxStreamsPerSession: number;
  /** Megabytes of buffers for one HTTP/2 session; Node's own 10 refuses streams from 400 stuck watchers on. */
  readonly sessionMemoryMb: number;
}

export const defaultConnectionLimits: ConnectionLimits = {
  detectTimeoutMs: 10_000,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 60_000,
  pingIntervalMs: 20_000,
  pingTimeoutMs: 20_000,
  idleTimeoutMs: 75_000,
  maxSockets: 8192,
  maxStreamsPerSession: 10_000,
  sessionMemoryMb: 128,
};

/** Opens the HTTP/2 preface; no HTTP/1.1 method begins with it. */
const preface = "PRI";

export class Listener {
  readonly #limits: ConnectionLimits;
  readonly #sockets = new Set<net.Socket>();
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  readonly #h1: http.Server;
  readonly #h2: http2.Http2Server;
  readonly #server: net.Server;

  /** `take` is asked first about each stream of HTTP/2. */
  constructor(handler: NodeHandler, limits: ConnectionLimits, take: StreamHandler = () => false) {
    this.#limits = limits;
    this.#h1 = http.createServer(
      {
        headersTimeout: limits.headersTimeoutMs,
        requestTimeout: limits.requestTimeoutMs,
        keepAliveTimeout: limits.idleTimeoutMs,
        connectionsCheckingInterval: Math.max(100, Math.min(limits.headersTimeoutMs, 5000) / 2),
      },
      handler,
    );
    this.#h2 = http2.createServer(
      {
        maxSessionMemory: limits.sessionMemoryMb,
        settings: { maxConcurrentStreams: limits.maxStreamsPerSession },
      },
      handler,
    );
    // Node makes requests of streams by a listener of its own
    const [toRequest] = this.#h2.listeners("stream");
    this.#h2.removeAllListeners("stream");
    this.#h2.on("stream", (stream, headers, ...rest) => {
      if (!take(stream, headers)) toRequest?.call(this.#h2, stream, headers, ...rest);
    });
    this.#h2.on("session", (session) => this.#adopt(session));
    this.#h2.on("sessionError", () => {});
    this.#server = net.createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 }, (socket) =>
      this.#greet(socket),
    );
    this.#server.maxConnections = limits.maxSockets;
  }

  /** Listens on TCP and answers the port that was given. */
  async listenTcp(host: string, port: number): Promise<number> {
    await this.#bound(() => this.#server.listen({ host, port }));
    return (this.#server.address() as net.AddressInfo).port;
  }

  async listenUnix(path: string): Promise<void> {
    await bindUnixSocket(path, () => this.#bound(() => this.#server.listen({ path })));
  }

  #bound(listen: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.once("listening", () => {
        this.#server.off("error", reject);
        this.#server.on("error", () => {});
        // arms the timeouts of a server that never listens itself
        this.#h1.emit("listening");
        resolve();
      });
      listen();
    });
  }

  /** Invariant 1: finds out which protocol the peer speaks. */
  #greet(socket: net.Socket): void {
    this.#sockets.add(socket);
    const destroy = () => socket.destroy();
    const timer = setTimeout(destroy, this.#limits.detectTimeoutMs);
    socket.once("close", () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
    socket.on("error", destroy);
    let head = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      head = head.length > 0 ? Buffer.concat([head, chunk]) : Buffer.from(chunk);
      const begin = head.toString("latin1", 0, preface.length);
      if (begin.length < preface.length && preface.startsWith(begin)) return;
      clearTimeout(timer);
      socket.off("data", onData);
      socket.pause();
      socket.unshift(head);
      if (begin === preface) {
        this.#h2.emit("connection", socket);
      } else {
        this.#h1.emit("connection", socket);
        socket.resume();
      }
    };
    socket.on("data", onData);
  }

  #adopt(session: http2.ServerHttp2Session): void {
    this.#sessions.add(session);
    session.on("error", () => session.destroy());
    let unanswered: NodeJS.Timeout | undefined;
    const pings = setInterval(() => {
      if (session.destroyed) return;
      unanswered ??= setTimeout(() => session.destroy(), this.#limits.pingTimeoutMs);
      session.ping((error) => {
        if (error) return;
        clearTimeout(unanswered);
        unanswered = undefined;
      });
    }, this.#limits.pingIntervalMs);
    session.once("close", () => {
      clearInterval(pings);
      clearTimeout(unanswered);
      this.#sessions.delete(session);
    });
  }

  /** Accepts nobody any more and tells every peer so; what runs goes on. */
  retire(): void {
    this.#server.close();
    for (const session of this.#sessions) session.close();
    this.#h1.closeIdleConnections();
  }

  /** Resolves once every socket is closed, or after `ms` milliseconds: what was written last is on its way until then. */
  async whenEmpty(ms: number): Promise<void> {
    const end = performance.now() + ms;
    while (this.#sockets.size > 0 && performance.now() < end) await pause(10);
  }

  /** Closes everything at once. */
  destroy(): void {
    this.#server.close();
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#sockets) socket.destroy();
    this.#h1.closeAllConnections();
    this.#h1.close();
  }
}
