/**
 * Owns what a forge's answer says about when it wants to be asked again.
 *
 * Headers: `retry-after` (RFC 9110: seconds or a date), GitHub's `x-ratelimit-remaining` and `-reset`, GitLab's
 * `ratelimit-remaining` and `-reset`. A reset is a time on the forge's own clock, which its `date` header tells.
 */

/** A refusal that does not say for how long, as GitHub advises for its secondary limits. */
const unsaidMs = 60_000;
/** No forge is left alone for longer than this because of one answer. */
const mostMs = 24 * 3_600_000;

/** Milliseconds for which the forge is not to be asked any more; 0: it may be asked. */
export function restMs(status: number, headers: Headers, wall: number): number {
  const isRefusal = status === 429 || status === 403 || status === 503;
  const after = isRefusal ? retryAfterMs(headers, wall) : undefined;
  const reset = isSpent(headers) ? resetMs(headers, wall) : undefined;
  if (after === undefined && reset === undefined) return status === 429 ? unsaidMs : 0;
  return Math.min(Math.max(after ?? 0, reset ?? 0), mostMs);
}

function isSpent(headers: Headers): boolean {
  const remaining = headers.get("x-ratelimit-remaining") ?? headers.get("ratelimit-remaining");
  return remaining !== null && Number(remaining) <= 0 && remaining.trim() !== "";
}

function retryAfterMs(headers: Headers, wall: number): number | undefined {
  const text = headers.get("retry-after")?.trim();
  if (!text) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  const time = Date.parse(text);
  return Number.isNaN(time) ? unsaidMs : Math.max(0, time - forgeTime(headers, wall));
}

function resetMs(headers: Headers, wall: number): number {
  const text = headers.get("x-ratelimit-reset") ?? headers.get("ratelimit-reset") ?? "";
  const seconds = Number(text);
  if (text.trim() === "" || !Number.isFinite(seconds)) return unsaidMs;
  // as a draft standard has it, small numbers are seconds from now; the forges' own are times
  return seconds < 1e9 ? Math.max(0, seconds * 1_000) : Math.max(0, seconds * 1_000 - forgeTime(headers, wall));
}

function forgeTime(headers: Headers, wall: number): number {
  const told = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(told) ? wall : told;
}
