/**
 * Owns what the service asks of forges: what became of an issue or a pull request.
 *
 * Invariant: an answer is never worse than UNKNOWN: a forge that cannot be asked decides nothing.
 */
import type { Forge, Subject } from "../domain/subject.js";

/** What a forge said of a subject, in words that a row can hold. */
export interface SubjectAnswer {
  readonly state: "UNKNOWN" | "OPEN" | "CLOSED" | "MERGED";
  /** Why it is UNKNOWN; otherwise empty. Never a secret, never more than a line. */
  readonly problem: string;
  /** Whether `UNKNOWN` is the fault of the request or of the forge, rather than the forge's plain word (404). */
  readonly failed: boolean;
}

export interface Forges {
  readonly configured: readonly Forge[];
  /**
   * Asks the forge that `subject.forge` names. Requests to one forge are made one at a time, and apart from each other as
   * that forge wants it; resolves when the answer is there, and never rejects. `signal` ends the wait with UNKNOWN.
   */
  state(subject: Subject, signal?: AbortSignal): Promise<SubjectAnswer>;
}
