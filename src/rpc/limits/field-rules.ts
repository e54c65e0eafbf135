/**
 * Owns the kinds of rules that a field can have. `field-limits.ts` says which field has which.
 *
 * Invariants:
 * 1. A description says what would be right and never repeats the value, which may be a secret.
 * 2. Every text is refused that has control characters or is not well-formed Unicode, but for `opaque` ones.
 */
import type { DescEnum } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";

/** Takes a fault; `field` is the path in proto names. */
export type Report = (field: string, description: string) => void;

/** Looks at one field and reports at most one fault of it, or of each of its parts. */
export type Rule<T> = (value: T, path: string, report: Report) => void;

export interface TextLimits {
  /** In bytes of UTF-8. */
  readonly max: number;
  readonly required?: boolean;
  /** Only looked at if the text is not empty. */
  readonly pattern?: { readonly matches: RegExp; readonly described: string };
  /** What is wrong with a text that is not empty, if anything. */
  readonly fault?: (text: string) => string | undefined;
}

export function text(limits: TextLimits): Rule<string> {
  return (value, path, report) => {
    const fault = textFault(value, limits);
    if (fault) report(path, fault);
  };
}

function textFault(value: string, { max, required, pattern, fault }: TextLimits): string | undefined {
  if (value === "") return required ? "is required" : undefined;
  if (Buffer.byteLength(value) > max) return `has more than ${max.toLocaleString("en")} bytes`;
  if (/\p{Cc}/u.test(value)) return "has control characters";
  if (/\p{Cs}/u.test(value)) return "is not well-formed Unicode";
  if (pattern && !pattern.matches.test(value)) return `is not ${pattern.described}`;
  return fault?.(value);
}

/** A secret or a name that the service verifies as a whole: only its size is looked at. */
export function opaque(max: number): Rule<string> {
  return (value, path, report) => {
    if (value === "") report(path, "is required");
    else if (Buffer.byteLength(value) > max) report(path, `has more than ${max.toLocaleString("en")} bytes`);
  };
}

/** A whole number within bounds. */
export function whole(min: number, max: number): Rule<number> {
  return (value, path, report) => {
    if (value < min) report(path, min === 0 ? "is negative" : `is below ${min.toLocaleString("en")}`);
    else if (value > max) report(path, `is above ${max.toLocaleString("en")}`);
  };
}

export function atLeast(min: bigint): Rule<bigint | undefined> {
  return (value, path, report) => {
    if (value !== undefined && value < min) report(path, min === 0n ? "is negative" : `is below ${min}`);
  };
}

/** Largest that google.protobuf.Duration allows, in seconds: about 10,000 years. */
const maxDurationSeconds = 315_576_000_000n;

/** A duration that is not negative; unset is right. */
export const duration: Rule<Duration | undefined> = (value, path, report) => {
  if (value === undefined) return;
  const { seconds, nanos } = value;
  if (seconds < 0n || nanos < 0) report(path, "is negative");
  else if (seconds > maxDurationSeconds || nanos > 999_999_999) report(path, "is no valid duration");
};

const mostDays = 3_650n;

/** A duration that reaches back from now, or on from it, by what a clock of the database can be moved by. */
export const age: Rule<Duration | undefined> = (value, path, report) => {
  duration(value, path, report);
  if ((value?.seconds ?? 0n) > mostDays * 86_400n && (value?.seconds ?? 0n) <= maxDurationSeconds) {
    report(path, `is above ${mostDays.toLocaleString("en")} days`);
  }
};

const mostOfKey = 40;

/**
 * Where the entry of a map is. Only the beginning of its key is repeated, in ASCII: it may be anything that a caller
 * made up, and answers have to be short.
 */
export function entryOf(path: string, key: string): string {
  const ascii = JSON.stringify(key.slice(0, mostOfKey)).replace(
    /[^\x20-\x7e]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `${path}[${ascii}]`;
}

const maxLabels = 32;
const labelKey = /^[a-z0-9][a-z0-9._/-]{0,62}$/;
const labelValue = text({ max: 256 });

export const labels: Rule<Readonly<Record<string, string>>> = (value, path, report) => {
  const entries = Object.entries(value);
  if (entries.length > maxLabels) report(path, `has more than ${maxLabels} entries`);
  for (const [key, content] of entries.slice(0, maxLabels)) {
    const place = entryOf(path, key);
    if (!labelKey.test(key)) report(place, "has a key that is not [a-z0-9][a-z0-9._/-]{0,62}");
    labelValue(content, place, report);
  }
};

export function list<T>(limits: { readonly max: number; readonly each: Rule<T> }): Rule<readonly T[]> {
  return (value, path, report) => {
    if (value.length > limits.max) report(path, `has more than ${limits.max.toLocaleString("en")} entries`);
    for (const [index, entry] of value.slice(0, limits.max).entries()) limits.each(entry, `${path}[${index}]`, report);
  };
}

/** A value that the enum has. */
export function oneOf(desc: DescEnum, unspecified: "allowed" | "refused"): Rule<number> {
  return (value, path, report) => {
    if (desc.value[value] === undefined) report(path, `is no value of ${desc.name}`);
    else if (value === 0 && unspecified === "refused") report(path, "is unspecified");
  };
}

/** Any value of its type is right. */
export const any: Rule<unknown> = () => {};
