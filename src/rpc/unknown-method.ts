/** Owns the answer to calls of methods that there are none of, in each protocol. */

import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { Failure } from "../domain/failure.js";
import { toConnectError } from "./errors.js";
import type { NodeRequest, NodeResponse } from "./listener.js";

const callTypes = /^application\/(grpc(-web)?(\+(proto|json))?|(connect\+)?(proto|json))\s*(;|$)/i;
const methodPath = /^\/[A-Za-z_][\w.]*\/[A-Za-z_]\w*$/;

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
    // a head that is a trailer too: gRPC's short form of an error
    const trailer = new Headers({ "content-type": type });
    setTrailerStatus(trailer, error);
    response.writeHead(200, Object.fromEntries(trailer.entries()));
    response.end();
    return;
  }
  const body = errorToJsonBytes(error, undefined);
  response.writeHead(codeToHttpStatus(error.code), {
    "content-type": "application/json",
    "content-length": body.byteLength,
  });
  // one signature of two types
  (response as { end(chunk: Uint8Array): void }).end(body);
}
