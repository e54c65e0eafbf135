/**
 * Owns the short way for the calls that are many: binary, uncompressed gRPC over HTTP/2, of unary methods and of streams
 * that bring their own envelopes. Connect's way through a dozen iterators costs several times what such a call is worth.
 *
 * Invariants:
 * 1. Whatever is in any way unusual (another protocol or encoding, compression, an odd timeout) is left to connect.
 * 2. What is taken goes through the same interceptors to the same handlers, and fails with the same codes and details.
 * 3. Nothing that a peer sends or does makes this throw or print.
 */
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { DescMethodServerStreaming, DescMethodUnary, Message } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ConnectRouter,
  createContextValues,
  type HandlerContext,
  type Interceptor,
  type StreamResponse,
  type UnaryResponse,
} from "@connectrpc/connect";
import { parseTimeout } from "@connectrpc/connect/protocol-grpc";
import type { Failure } from "../../domain/failure.js";
import { type Arrival, arrivalKey, type ListenSide } from "../call.js";
import { toConnectError, toFailure, translated } from "../errors.js";
import { maxTimeoutMs, urlOf } from "../http/node-request.js";
import { remembered } from "../remembered.js";
import type { RunningCalls } from "../running-calls.js";
import { DirectCall } from "./direct-call.js";
import { DirectContext } from "./direct-context.js";
import { enveloped } from "./envelope.js";

/** A stream whose handler makes envelopes by itself, several at once where they come at once. */
export interface EnvelopeStream {
  readonly method: DescMethodServerStreaming;
  readonly open: (request: Message, context: HandlerContext) => AsyncIterable<Uint8Array>;
}

export interface DirectCallsOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly envelopeStreams: readonly EnvelopeStream[];
  readonly interceptors: readonly Interceptor[];
  readonly readMaxBytes: number;
  readonly requestTimeoutMs: number;
  readonly shutdown: AbortSignal;
  readonly unary: RunningCalls;
  readonly streams: RunningCalls;
  /** Is told of a request of `path` that could not be read. */
  readonly onUnread: (path: string, arrival: Arrival, failure: Failure) => void;
}

/** Why the signal of a call aborts that is over. One for all: an abort without a reason makes a costly one. */
const over = new ConnectError("the call is over", Code.Canceled);

type Handler = (request: Message, context: HandlerContext) => unknown;
type Run = (call: DirectCall) => Promise<void>;
type AnyFn = ReturnType<Interceptor>;

interface Route {
  readonly method: DescMethodUnary | DescMethodServerStreaming;
  readonly run: Run;
}

export class DirectCalls {
  readonly #options: DirectCallsOptions;
  readonly #routes = new Map<string, Route>();
  readonly #running = new Set<DirectContext>();

  constructor(options: DirectCallsOptions) {
    this.#options = options;
    const router = {
      service: (service: { methods: readonly unknown[] }, handlers: Record<string, Handler | undefined>) => {
        for (const method of service.methods as readonly DescMethodUnary[]) {
          const handler = handlers[method.localName];
          if (method.methodKind === "unary" && handler) this.#add(method, (call) => this.#unary(method, handler, call));
        }
        return router;
      },
    };
    options.routes(router as unknown as ConnectRouter);
    for (const { method, open } of options.envelopeStreams) {
      this.#add(method, (call) => this.#stream(method, open, call));
    }
    options.shutdown.addEventListener("abort", () => {
      for (const context of this.#running) context.abort(options.shutdown.reason);
    });
  }

  /** Takes the call if it is one of its own. Otherwise nothing was done with the stream. */
  take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, side: ListenSide): boolean {
    const path = headers[":path"] ?? "";
    const route = this.#routes.get(path);
    if (!route || !isPlain(headers)) return false;
    const timeout = parseTimeout(headers["grpc-timeout"]?.toString() ?? null, maxTimeoutMs);
    if (timeout.error) return false;
    const { method, run } = route;
    const { unary, streams, shutdown, requestTimeoutMs } = this.#options;
    const time = performance.now();
    const context = new DirectContext({
      method,
      headers,
      url: rootOf(headers[":authority"] ?? headers.host ?? "") + path.slice(1),
      timeoutMs: timeout.timeoutMs,
      values: createContextValues(),
    });
    const call = new DirectCall(stream, context, requestTimeoutMs);
    const arrival: Arrival = { ...side, time, delivery: call.delivery };
    context.values.set(arrivalKey, arrival);
    (method.methodKind === "unary" ? unary : streams).begin(stream);
    this.#running.add(context);
    if (shutdown.aborted) context.abort(shutdown.reason);
    run(call)
      // what fails after the answer has begun can only be told by breaking it off
      .catch(() => stream.destroy())
      .finally(() => {
        this.#running.delete(context);
        context.abort(over);
      });
    return true;
  }

  #add(method: Route["method"], run: Run): void {
    this.#routes.set(`/${method.parent.typeName}/${method.name}`, { method, run });
  }

  async #unary(method: DescMethodUnary, handler: Handler, call: DirectCall): Promise<void> {
    const { context } = call;
    let message: Message;
    try {
      message = parsed(method, await call.message(this.#options.readMaxBytes));
    } catch (error) {
      const failure = toFailure(error);
      this.#options.onUnread(context.url.slice(context.url.indexOf("/", 8)), context.values.get(arrivalKey), failure);
      return call.fail(toConnectError(failure));
    }
    const answer = async (request: { message: unknown }) => {
      const output = await handler(request.message as Message, context);
      return { stream: false, ...this.#response(method, context), message: create(method.output, output as Message) };
    };
    try {
      const chain = this.#intercepted(answer as unknown as AnyFn);
      const response = await chain({ stream: false, method, message, ...this.#request(context) });
      call.answer(enveloped(toBinary(method.output, (response as UnaryResponse).message)));
    } catch (error) {
      call.fail(translated(error));
    }
  }

  async #stream(method: DescMethodServerStreaming, open: EnvelopeStream["open"], call: DirectCall): Promise<void> {
    const { context } = call;
    const answer = async (request: { message: AsyncIterable<Message> }) => {
      for await (const message of request.message) {
        return { stream: true, ...this.#response(method, context), message: open(message, context) };
      }
      throw new Error("the one message is read or reading it fails");
    };
    const one = async function* (this: DirectCalls) {
      yield parsed(method, await call.message(this.#options.readMaxBytes));
    };
    try {
      const chain = this.#intercepted(answer as unknown as AnyFn);
      const response = await chain({ stream: true, method, message: one.call(this), ...this.#request(context) });
      await call.send((response as StreamResponse).message as unknown as AsyncIterable<Uint8Array>);
    } catch (error) {
      call.fail(translated(error));
    }
  }

  #intercepted(answer: AnyFn): AnyFn {
    return this.#options.interceptors.reduceRight((next, interceptor) => interceptor(next), answer);
  }

  #request(context: DirectContext) {
    const { service, requestMethod, url, values } = context;
    return {
      service,
      requestMethod,
      url,
      contextValues: values,
      get header() {
        return context.requestHeader;
      },
      get signal() {
        return context.signal;
      },
    };
  }

  #response(method: Route["method"], context: DirectContext) {
    return { method, service: method.parent, header: context.responseHeader, trailer: context.responseTrailer };
  }
}

const rootOf = remembered(100, (authority) => urlOf("/", authority));

/** Invariant 1. */
function isPlain(headers: IncomingHttpHeaders): boolean {
  const { "content-type": type, "grpc-encoding": encoding } = headers;
  return (
    headers[":method"] === "POST" &&
    (type === "application/grpc" || type === "application/grpc+proto") &&
    (encoding === undefined || encoding === "identity")
  );
}

function parsed(method: Route["method"], bytes: Uint8Array): Message {
  try {
    return fromBinary(method.input, bytes);
  } catch (error) {
    throw new ConnectError(`parse binary: ${error instanceof Error ? error.message : error}`, Code.Internal);
  }
}
