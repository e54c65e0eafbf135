/**
 * Owns the shape of the readers of forges: where the state of a subject is found, and what an answer means.
 *
 * Invariant: what is not exactly one of the documented words is undefined, never a guess.
 */
import type { Subject } from "../domain/subject.js";

export type KnownState = "OPEN" | "CLOSED" | "MERGED";

export interface ForgeReader {
  /** Below the API's base, with a slash at the beginning. Segments of the project have been checked. */
  path(subject: Subject): string;
  /** Headers of every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** The header that the token goes in. */
  authentication(token: string): Readonly<Record<string, string>>;
  /** Undefined where the answer is not one of this API. */
  state(body: Readonly<Record<string, unknown>>, subject: Subject): KnownState | undefined;
}

/** `open` and `closed`, as three of the four call them. */
export function plainState(value: unknown): "OPEN" | "CLOSED" | undefined {
  return value === "open" ? "OPEN" : value === "closed" ? "CLOSED" : undefined;
}

/** Each segment of a project's path, as a segment of another one. */
export function encodedSegments(project: string): string {
  return project.split("/").map(encodeURIComponent).join("/");
}
