/**
 * Owns which requests are taken for local where there is no authentication.
 *
 * Invariants:
 * 1. A web page of another site can neither call (its Origin tells) nor have its name rebound to this
 *    machine (its Host tells). Unix sockets are exempt: no browser reaches them.
 */
import { isIPv4 } from "node:net";
import { Failure } from "../../domain/failure.js";
import { remembered } from "../remembered.js";

export interface RequestOrigin {
  /** Host and port as the client named them. */
  readonly authority: string;
  /** The `Origin` header, if there is one. */
  readonly origin: string | null;
  readonly transport: "tcp" | "unix";
  /** Host of the listen address, which is a right name too. */
  readonly listenHost: string;
}

/** Throws ORIGIN_NOT_ALLOWED if the request may come from a web page of another site. */
export function checkOrigin({ authority, origin, transport, listenHost }: RequestOrigin): void {
  if (transport === "unix") return;
  const host = hostOf(`http://${authority}`);
  if (host === undefined || !(isLoopbackName(host) || host === hostOf(`http://${bracketed(listenHost)}`))) {
    throw new Failure(
      "ORIGIN_NOT_ALLOWED",
      "the Host header is no name of this machine; without authentication, only local callers are served",
    );
  }
  if (origin !== null && !isSameOrigin(origin, authority)) {
    throw new Failure(
      "ORIGIN_NOT_ALLOWED",
      "the Origin header is of another site; without authentication, only this server's own pages may call",
    );
  }
}

/** Whether a host name or address, as `URL` writes it, always means this machine. */
function isLoopbackName(host: string): boolean {
  if (host === "localhost" || host.endsWith(".localhost") || host === "[::1]") return true;
  return isIPv4(host) && host.startsWith("127.");
}

function isSameOrigin(origin: string, authority: string): boolean {
  try {
    return new URL(origin).host === new URL(`http://${authority}`).host;
  } catch {
    return false;
  }
}

/** Peers name few authorities, and each of them in every call. */
const hostOf = remembered(100, (url): string | undefined => {
  try {
    return new URL(url).hostname;
  } catch {
    return undefined;
  }
});

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
