/** Owns the reading of what a caller says that its work is about. */
import { Failure } from "../../domain/failure.js";
import { type Forge, type Subject, subjectOf } from "../../domain/subject.js";

/** Fails with SUBJECT_UNKNOWN_FORGE, naming the forges that are configured. */
export function subjectNamed(url: string, forges: readonly Forge[]): Subject {
  const subject = subjectOf(url, forges);
  if (subject) return subject;
  const names = forges.map(({ name }) => name).join(", ");
  const message =
    names === "" ? "no forge is configured" : `this is no issue or pull request of one of the forges ${names}`;
  throw new Failure("SUBJECT_UNKNOWN_FORGE", message, { metadata: { forges: names } });
}
