/**
 * Owns reading single values of a forge's message.
 *
 * Invariant: a value that is missing, of another type, too long, or that holds control characters fails with the name of its
 * place, and nothing of itself.
 */
import { isRecord } from "../domain/record.js";

export type Message = Readonly<Record<string, unknown>>;

/** A signed message that is not what its kind has to be. */
export class MalformedMessage extends Error {
  override readonly name = "MalformedMessage";
}

export function parseMessage(body: Uint8Array): Message {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
    if (isRecord(value)) return value;
  } catch {
    // told below
  }
  throw new MalformedMessage("the body is no JSON object in UTF-8");
}

/** `path`: names with dots between them. */
export function part(message: Message, path: string): unknown {
  let value: unknown = message;
  for (const name of path.split(".")) value = isRecord(value) ? value[name] : undefined;
  return value;
}

export function text(message: Message, path: string): string {
  const value = part(message, path);
  if (typeof value === "string" && value.length <= 1_024 && /^[^\u0000-\u001f\u007f]+$/.test(value)) return value;
  throw new MalformedMessage(`${path} is no text of up to 1024 characters`);
}

/** `owner/name`, or with more parts. */
export function project(message: Message, path: string): string {
  const value = text(message, path);
  if (/^[^/\s]+(\/[^/\s]+)+$/.test(value) && value.length <= 512) return value;
  throw new MalformedMessage(`${path} is no path of a project`);
}

export function number(message: Message, path: string): number {
  const value = part(message, path);
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
  throw new MalformedMessage(`${path} is no number from 1`);
}

const heads = "refs/heads/";

/** The branch of a full ref; undefined for a tag or anything else. */
export function branchOf(ref: string): string | undefined {
  return ref.startsWith(heads) && ref.length > heads.length ? ref.slice(heads.length) : undefined;
}

/** What a forge gives as the new commit of a ref that is gone, whatever the length of its ids. */
export function isNoCommit(id: unknown): boolean {
  return typeof id === "string" && /^0{40,64}$/.test(id);
}
