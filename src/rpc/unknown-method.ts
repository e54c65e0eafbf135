/** Owns the answer to calls of methods that there are none of, in each protocol. */

import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { Failure } from "../domain/failure.js";
import { toConnectError } from "./errors.js";
import type { NodeRequest, NodeResponse } from "./http/listener.js";

const callTypes = /^application\/(grpc(-web)?(\+(proto|json))?|(connect\+)?(proto|json))\s*(;|$)/i;
/** Webhooks are JSON as well, and would be a method's path by their form. */
const methodPath = /^\/(?!webhooks\/)[A-Za-z_][\w.]*\/[A-Za-z_]\w*$/;

/** Whether the request looks like a call of any of the protocols. */
export function isCall(request: NodeRequest): boolean {
  const type = request.headers["content-type"] ?? "";
  const path = (request.url ?? "").split("?", 1)[0] ?? "";
  return (
    request.method === "POST" && callTypes.test(type) && (type.startsWith("application/grpc") || methodPath.test(path))
  );
}

export function answerUnknownMethod(request: NodeRequest, response: NodeResponse): void {
  const type = request.headers["content-type"] ?? "";
  const error = toConnectError(new Failure("METHOD_UNKNOWN", "no such service or method"));
  request.resume();
  if (type.startsWith("application/grpc")) {
    const trailer = setTrailerStatus(new Headers(), error);
    response.writeHead(200, { "content-type": type });
    if (type.startsWith("application/grpc-web")) {
      end(response, encodeEnvelope(trailerFlag, trailerSerialize(trailer)));
    } else {
      response.addTrailers(Object.fromEntries(trailer.entries()));
      response.end();
    }
    return;
  }
  const body = errorToJsonBytes(error, undefined);
  response.writeHead(codeToHttpStatus(error.code), {
    "content-type": "application/json",
    "content-length": body.byteLength,
  });
  end(response, body);
}

function end(response: NodeResponse, body: Uint8Array): void {
  // one signature of two types
  (response as { end(chunk: Uint8Array): void }).end(body);
}
