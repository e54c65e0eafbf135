/**
 * Owns who calls: the check of credentials, roles and, where there are no credentials, origins.
 *
 * Invariants:
 * 1. No handler but health's runs before its caller is known and may do what it asks.
 * 2. A wrong credential is told apart from a missing one and from nothing else.
 */
import type { Interceptor, StreamRequest, UnaryRequest } from "@connectrpc/connect";
import type { Caller } from "../domain/caller.js";
import { Failure } from "../domain/failure.js";
import { arrivalKey, callerKey } from "./call.js";
import { checkOrigin } from "./http/origin.js";
import { accessTo, allows } from "./roles.js";

/** Where bearer tokens are looked up. */
export interface Credentials {
  /** Whom the token stands for, or undefined if it is not known. */
  callerOf(token: string): Promise<Caller | undefined>;
}

/** Who calls where nobody has to say so. */
export const localAdmin: Caller = { name: "", role: "admin" };

type Request = UnaryRequest | StreamRequest;

/** `credentials` undefined: no authentication; everybody local is an admin. */
export function authentication(credentials: Credentials | undefined): Interceptor {
  return (next) => async (request) => {
    const caller = credentials ? await authenticated(request, credentials) : local(request);
    request.contextValues.set(callerKey, caller);
    return next(request);
  };
}

function local(request: Request): Caller {
  const { transport, listenHost } = request.contextValues.get(arrivalKey);
  const authority = request.url.replace(/^[a-z]+:\/\//, "").split("/", 1)[0] ?? "";
  checkOrigin({ authority, origin: request.header.get("origin"), transport, listenHost });
  return localAdmin;
}

async function authenticated(request: Request, credentials: Credentials): Promise<Caller | undefined> {
  const access = accessTo(request.method);
  if (access === "anyone") return undefined;
  const header = request.header.get("authorization");
  if (header === null) throw new Failure("CREDENTIAL_MISSING", "a bearer token is required");
  const token = /^Bearer +(\S{1,1024})$/i.exec(header)?.[1];
  const caller = token === undefined ? undefined : await credentials.callerOf(token);
  if (!caller) throw new Failure("CREDENTIAL_INVALID", "the bearer token is not known");
  if (!allows(caller.role, access)) {
    throw new Failure("ROLE_REQUIRED", `${request.method.name} needs the role ${access}`, {
      metadata: { role: access },
    });
  }
  return caller;
}
