/**
 * Owns the lease token: what proves a holder's right.
 *
 * Invariants:
 * 1. `<workspace>.<fence>.<HMAC-SHA256>`: derived, never stored, so a replayed Acquire gives the same token after any crash.
 * 2. Verified in constant time and before anything is read from the store, so that nothing can be probed.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { type LeaseKey, leaseId, parseLeaseId } from "./lease.js";

/** What tokens are derived from; shared by all servers of one store. */
export interface TokenSecret {
  readonly storeId: string;
  /** 32 random bytes. */
  readonly key: Uint8Array;
}

export function mintToken(key: LeaseKey, secret: TokenSecret): string {
  const name = leaseId(key);
  return `${name}.${signature(name, secret)}`;
}

/** The lease that `token` proves a right to, or undefined if it is forged, garbled, or not of `expectedLeaseId`. */
export function verifyToken(token: string, expectedLeaseId: string, secret: TokenSecret): LeaseKey | undefined {
  const key = keyOfToken(token, secret);
  return key && leaseId(key) === expectedLeaseId ? key : undefined;
}

/** The lease that `token` proves a right to, or undefined if it is forged or garbled. */
export function keyOfToken(token: string, secret: TokenSecret): LeaseKey | undefined {
  const end = token.lastIndexOf(".");
  const name = token.slice(0, Math.max(end, 0));
  const given = Buffer.from(token.slice(end + 1));
  const right = Buffer.from(signature(name, secret));
  const genuine = given.length === right.length && timingSafeEqual(given, right);
  return genuine ? parseLeaseId(name) : undefined;
}

function signature(name: string, secret: TokenSecret): string {
  return createHmac("sha256", secret.key).update(`${secret.storeId}|${name}`).digest("base64url");
}
