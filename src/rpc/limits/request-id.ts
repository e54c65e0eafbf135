/** Owns the name under which a call is found in the log: the caller's own if it is sane, else a new one. */
import { randomUUID } from "node:crypto";
import type { Interceptor } from "@connectrpc/connect";
import { requestIdKey } from "../call.js";
import { translated } from "../errors.js";

export const requestIdHeader = "x-request-id";

export function requestIdOf(header: string | null | undefined): string {
  return header && /^[A-Za-z0-9._:/+=-]{1,128}$/.test(header) ? header : randomUUID();
}

/** Outermost: answers and errors of everything within carry the name. */
export const requestId: Interceptor = (next) => async (request) => {
  const id = requestIdOf(request.header.get(requestIdHeader));
  request.contextValues.set(requestIdKey, id);
  try {
    const response = await next(request);
    response.header.set(requestIdHeader, id);
    return response;
  } catch (error) {
    const known = translated(error);
    known.metadata.set(requestIdHeader, id);
    throw known;
  }
};
