/**
 * Owns the order of what happens to every call, whichever protocol it came by.
 *
 * Invariants:
 * 1. From the outside in: request id, log, translation of errors, deadline, authentication, checks, handler.
 *    So the log sees what the caller is told, and nothing is checked for callers that may not call.
 */
import type { Interceptor } from "@connectrpc/connect";
import type { Log } from "../log.js";
import { authentication, type Credentials } from "./authentication.js";
import { callLog } from "./call-log.js";
import { deadline } from "./deadline.js";
import { translated } from "./errors.js";
import { checks } from "./limits/checks.js";
import { requestId } from "./limits/request-id.js";
import { observed } from "./messages.js";

export interface InterceptorOptions {
  readonly log: Log;
  readonly credentials: Credentials | undefined;
  /** Aborts when the server gives up on running calls. */
  readonly shutdown: AbortSignal;
}

export function interceptors({ log, credentials, shutdown }: InterceptorOptions): Interceptor[] {
  return [requestId, callLog(log), translation, deadline(shutdown), authentication(credentials), checks];
}

/** Gives every error its code, reason and details. */
const translation: Interceptor = (next) => async (request) => {
  try {
    const response = await next(request);
    return response.stream ? { ...response, message: observed(response.message, { mapError: translated }) } : response;
  } catch (error) {
    throw translated(error);
  }
};
