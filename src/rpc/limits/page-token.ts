/**
 * Owns page tokens: where the next page of a list begins.
 *
 * Invariants:
 * 1. Opaque to callers, and bound to the filters of the list it came from.
 * 2. No secret and no proof: whoever makes one up can only begin somewhere else in a list that it may read anyway.
 */
import { createHash } from "node:crypto";
import { type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";

export interface PageStart {
  /** Name or id of the last entry of the page before; empty for the first page. */
  readonly after: string;
  /** The first page's revision; 0 where a list has none. */
  readonly revision: bigint;
}

interface Paged {
  readonly pageToken: string;
}

const digestBytes = 9;
const digestLength = (digestBytes * 4) / 3;

export function encodePageToken<D extends DescMessage>(desc: D, request: MessageShape<D>, start: PageStart): string {
  return Buffer.from(`${filterDigest(desc, request)}${start.revision}:${start.after}`).toString("base64url");
}

/** Where to begin; undefined if the token is garbage, or was given for other filters. */
export function decodePageToken<D extends DescMessage>(
  desc: D,
  request: MessageShape<D> & Paged,
): PageStart | undefined {
  if (request.pageToken === "") return { after: "", revision: 0n };
  if (!/^[A-Za-z0-9_-]{1,1024}$/.test(request.pageToken)) return undefined;
  const content = Buffer.from(request.pageToken, "base64url").toString();
  const match = /^(\d{1,18}):([\x20-\x7e]{1,256})$/.exec(content.slice(digestLength));
  if (!match || content.slice(0, digestLength) !== filterDigest(desc, request)) return undefined;
  return { revision: BigInt(match[1] as string), after: match[2] as string };
}

/** Equal for requests that differ in their page only. */
function filterDigest<D extends DescMessage>(desc: D, request: MessageShape<D>): string {
  const json = toJson(desc, request) as Record<string, unknown>;
  const filters = Object.entries(json).filter(([name]) => name !== "pageToken" && name !== "pageSize");
  const canonical = JSON.stringify([desc.typeName, sorted(filters)]);
  return createHash("sha256").update(canonical).digest().subarray(0, digestBytes).toString("base64url");
}

function sorted(entries: [string, unknown][]): unknown {
  return entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => [
      name,
      value !== null && typeof value === "object" && !Array.isArray(value) ? sorted(Object.entries(value)) : value,
    ]);
}
