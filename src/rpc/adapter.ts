/**
 * Owns the way from a request of Node to the handler of its method and back.
 *
 * Invariants:
 * 1. Nothing that a peer sends or does makes this throw or print; what goes wrong is answered, or logged at `debug`.
 * 2. A path that is no method is METHOD_UNKNOWN in the caller's own protocol; anything that is no call at all is `other`'s.
 * 3. Where one message is expected, it has to arrive within `requestTimeoutMs`; where one is answered, it has to
 *    be taken within as long.
 */
import { type ConnectRouter, createConnectRouter, createContextValues, type Interceptor } from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import type { Failure } from "../domain/failure.js";
import type { Log } from "../log.js";
import { type Arrival, arrivalKey, Delivery, type ListenSide } from "./call.js";
import { DirectCalls, type EnvelopeStream } from "./direct/direct-calls.js";
import { completed } from "./framework-errors.js";
import type { NodeHandler, NodeRequest, NodeResponse, StreamHandler } from "./http/listener.js";
import { toUniversalRequest } from "./http/node-request.js";
import { PeerGone, writeResponse } from "./http/node-response.js";
import { requestIdHeader, requestIdOf } from "./limits/request-id.js";
import { RunningCalls } from "./running-calls.js";
import { answerUnknownMethod, isCall } from "./unknown-method.js";

export interface AdapterOptions {
  readonly routes: (router: ConnectRouter) => void;
  /** Streams that may be served without connect; `routes` has them as well. */
  readonly envelopeStreams: readonly EnvelopeStream[];
  readonly interceptors: Interceptor[];
  /** Largest message that is read, after decompression. */
  readonly readMaxBytes: number;
  /** How long one message may take on the wire, either way. */
  readonly requestTimeoutMs: number;
  /** Aborts the calls that still run when the server gives up on them. */
  readonly shutdown: AbortSignal;
  /** Aborts when the server begins to drain: then connections end with their answers. */
  readonly draining: AbortSignal;
  /** Answers what is no call. */
  readonly other: NodeHandler;
  readonly log: Log;
}

export class Adapter {
  readonly #options: AdapterOptions;
  readonly #handlers = new Map<string, UniversalHandler>();
  /** Calls that expect one answer, and calls that stream. */
  readonly unary = new RunningCalls();
  readonly streams = new RunningCalls();
  readonly #direct: DirectCalls;

  constructor(options: AdapterOptions) {
    this.#options = options;
    const router = createConnectRouter({
      interceptors: options.interceptors,
      readMaxBytes: options.readMaxBytes,
      shutdownSignal: options.shutdown,
      acceptCompression: [compressionGzip, compressionBrotli],
      // answers are small or local: they are not compressed, though compressed requests are read
      compressMinBytes: Number.MAX_SAFE_INTEGER,
    });
    options.routes(router);
    for (const handler of router.handlers) this.#handlers.set(handler.requestPath, handler);
    const onUnread = (path: string, arrival: Arrival, failure: Failure) => this.#noteUnread(path, arrival, failure);
    this.#direct = new DirectCalls({ ...options, unary: this.unary, streams: this.streams, onUnread });
  }

  /** Takes the HTTP/2 streams of one listen address that need not be requests first. */
  streamHandlerFor(side: ListenSide): StreamHandler {
    return (stream, headers) => this.#direct.take(stream, headers, side);
  }

  /** The request listener of one listen address. */
  handlerFor(side: ListenSide): NodeHandler {
    return (request, response) => {
      // both emit errors of a broken peer, which end in `close` as well
      request.on("error", () => {});
      response.on("error", () => {});
      if (this.#options.draining.aborted && "shouldKeepAlive" in response) response.shouldKeepAlive = false;
      void this.#handle(request, response, side).catch((error: unknown) => this.#giveUp(request, response, error));
    };
  }

  async #handle(request: NodeRequest, response: NodeResponse, side: ListenSide): Promise<void> {
    const { other } = this.#options;
    const handler = this.#handlers.get((request.url ?? "").split("?", 1)[0] ?? "");
    const kind = handler?.method.methodKind;
    if (kind !== "bidi_streaming") this.#limit(response, () => hasArrived(request));
    if (!handler) return isCall(request) ? answerUnknownMethod(request, response) : other(request, response);
    (kind === "unary" ? this.unary : this.streams).begin(response);
    const delivery = new Delivery();
    response.once("close", () => delivery.lost());
    const arrival: Arrival = { ...side, time: performance.now(), delivery };
    const universal = toUniversalRequest(request, response, createContextValues().set(arrivalKey, arrival));
    const note = (failure: Failure) => this.#noteUnread(handler.requestPath, arrival, failure);
    const answer = await handler(universal);
    if (kind === "unary") this.#limit(response, () => false);
    await writeResponse(completed(answer, note), response, delivery);
  }

  #noteUnread(path: string, arrival: Arrival, { reason, code }: Failure): void {
    const line = { method: path.slice(1), code, reason, duration_ms: performance.now() - arrival.time };
    this.#options.log.info(line, "call failed unread");
  }

  /** Invariant 3: after the time has passed, the call ends unless `isDone`. */
  #limit(response: NodeResponse, isDone: () => boolean): void {
    // not to hold up the end of the process: a response that is closed already does not say so again
    const timer = setTimeout(() => {
      if (!isDone()) destroy(response);
    }, this.#options.requestTimeoutMs).unref();
    response.once("close", () => clearTimeout(timer));
  }

  #giveUp(request: NodeRequest, response: NodeResponse, error: unknown): void {
    if (!(error instanceof PeerGone)) {
      const request_id = requestIdOf(request.headers[requestIdHeader]?.toString());
      this.#options.log.warn(
        { err: error, request_id, path: request.url?.slice(0, 200) },
        "answer could not be written",
      );
    }
    destroy(response);
  }
}

/** A body that nobody reads never tells its end: then what the head said counts. */
function hasArrived(request: NodeRequest): boolean {
  return request.complete || ("stream" in request && request.stream?.endAfterHeaders === true);
}

function destroy(response: NodeResponse): void {
  if ("stream" in response) response.stream?.destroy();
  else response.destroy();
}
