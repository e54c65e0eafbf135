/**
 * Owns which listen addresses may be served how.
 *
 * Invariants:
 * 1. Nothing but loopback and unix sockets is served without authentication, nor bearer tokens in clear text
 *    anywhere else unless the operator says so. What a name resolves to counts, and is what is listened on.
 */
import { lookup } from "node:dns/promises";
import { isIPv4 } from "node:net";

export interface Exposure {
  readonly hasAuthentication: boolean;
  readonly allowsCleartext: boolean;
}

/** Refused for a reason that the operator can mend. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** The IP address to listen on for `host`. Throws ListenError if that is not allowed. */
export async function allowedAddress(host: string, { hasAuthentication, allowsCleartext }: Exposure): Promise<string> {
  const { address } = await lookup(host).catch(() => {
    throw new ListenError(`listen: ${host} has no address`);
  });
  if (isLoopbackAddress(address)) return address;
  if (!hasAuthentication) {
    throw new ListenError(`listen: ${host} is not a loopback address, which needs authentication (auth.tokens_file)`);
  }
  if (!allowsCleartext) {
    throw new ListenError(`listen: bearer tokens would go in clear text over ${host}; allow_cleartext permits it`);
  }
  return address;
}

function isLoopbackAddress(address: string): boolean {
  const ip = address.toLowerCase().replace(/^::ffff:/, "");
  return ip === "::1" || (isIPv4(ip) && ip.startsWith("127."));
}
