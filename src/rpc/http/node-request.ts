/**
 * Owns how a request of Node becomes one of connect.
 *
 * Invariants:
 * 1. No header a client can send makes this throw: an authority that is none becomes `invalid.`, which no
 *    check takes for a local name.
 * 2. The signal aborts when the peer has gone before its answer was finished.
 */
import { Code, ConnectError, type ContextValues } from "@connectrpc/connect";
import type { UniversalServerRequest } from "@connectrpc/connect/protocol";
import { timeoutOf } from "../deadline.js";
import { toHeaders } from "../direct/direct-context.js";
import type { NodeRequest, NodeResponse } from "./listener.js";

/** Longest timeout that a timer of Node can have, in milliseconds: about 24 days. Longer ones would fire at once. */
export const maxTimeoutMs = 2 ** 31 - 1;

/** Stands for an authority that cannot be one, for instance the path of a unix socket. */
const invalidAuthority = "invalid.";

export function toUniversalRequest(
  request: NodeRequest,
  response: NodeResponse,
  contextValues: ContextValues,
): UniversalServerRequest {
  const header = headersOf(request);
  return {
    httpVersion: request.httpVersion,
    method: request.method ?? "",
    url: urlOf(request.url ?? "/", "authority" in request ? request.authority : request.headers.host),
    header,
    body: bodyOf(request),
    signal: goneSignal(response),
    contextValues,
  };
}

async function* bodyOf(request: NodeRequest): AsyncIterable<Uint8Array> {
  try {
    // a request that is refused half read must not take the socket of its answer with it
    yield* request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw new ConnectError("the request broke off", Code.Canceled, undefined, undefined, error);
  }
}

function headersOf(request: NodeRequest): Headers {
  const header = toHeaders(request.headers);
  const timeoutMs = timeoutOf(header);
  if (timeoutMs !== undefined && timeoutMs > maxTimeoutMs) {
    header.delete("grpc-timeout");
    header.delete("connect-timeout-ms");
  }
  return header;
}

/** The URL of a request for `path`, whatever authority it names. */
export function urlOf(path: string, authority: string | undefined): string {
  try {
    return new URL(path, `http://${authority || invalidAuthority}`).toString();
  } catch {
    return new URL(path, `http://${invalidAuthority}`).toString();
  }
}

function goneSignal(response: NodeResponse): AbortSignal {
  const gone = new AbortController();
  response.once("close", () => {
    // not `writableFinished`: Node finishes a stream itself when its peer resets it
    if (!response.writableEnded) gone.abort();
  });
  return gone.signal;
}
