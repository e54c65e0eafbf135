/**
 * Owns what a handler and the interceptors know of a call that is served directly.
 *
 * Invariants:
 * 1. What few calls look at (the headers as the web's `Headers`, an AbortSignal) is made when it is first looked at:
 *    making these for every call is most of what a call costs.
 * 2. The signal aborts at the deadline, when the caller has gone, when the server gives up, and when the call is over.
 */
import type { IncomingHttpHeaders } from "node:http2";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { Code, ConnectError, type ContextValues, type HandlerContext } from "@connectrpc/connect";

export interface DirectRequest {
  readonly method: DescMethod;
  readonly headers: IncomingHttpHeaders;
  readonly url: string;
  /** From now; undefined without a deadline. */
  readonly timeoutMs: number | undefined;
  readonly values: ContextValues;
}

export class DirectContext implements HandlerContext {
  readonly method: DescMethod;
  readonly service: DescService;
  readonly requestMethod = "POST";
  readonly protocolName = "grpc";
  readonly values: ContextValues;
  readonly url: string;
  readonly timeoutMs: () => number | undefined;
  readonly #headers: IncomingHttpHeaders;
  readonly #timer: NodeJS.Timeout | undefined;
  #requestHeader: Headers | undefined;
  #controller: AbortController | undefined;
  #abortion: { readonly reason: unknown } | undefined;
  readonly responseHeader: Headers = new Headers();
  readonly responseTrailer: Headers = new Headers();

  constructor({ method, headers, url, timeoutMs, values }: DirectRequest) {
    this.method = method;
    this.service = method.parent;
    this.#headers = headers;
    this.url = url;
    this.values = values;
    const end = timeoutMs === undefined ? undefined : Date.now() + timeoutMs;
    this.timeoutMs = () => (end === undefined ? undefined : end - Date.now());
    if (timeoutMs === undefined) return;
    if (timeoutMs > 0) this.#timer = setTimeout(() => this.#expire(), timeoutMs);
    else this.#expire();
  }

  get requestHeader(): Headers {
    this.#requestHeader ??= toHeaders(this.#headers);
    return this.#requestHeader;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#abortion) this.#controller.abort(this.#abortion.reason);
    return this.#controller.signal;
  }

  /** Only the first reason counts. */
  abort(reason?: unknown): void {
    clearTimeout(this.#timer);
    this.#abortion ??= { reason };
    this.#controller?.abort(reason);
  }

  #expire(): void {
    this.abort(new ConnectError("the operation timed out", Code.DeadlineExceeded));
  }
}

/** All headers but those of HTTP/2 itself. */
export function toHeaders(headers: IncomingHttpHeaders): Headers {
  const header = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(":") || value === undefined) continue;
    for (const single of Array.isArray(value) ? value : [value]) header.append(name, single);
  }
  return header;
}
