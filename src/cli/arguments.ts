/** Owns how values other than durations are read from the command line: labels, numbers, short enum names. */
import { InvalidArgumentError } from "commander";

/** Collects `key=value` of a repeatable option; `what` it is, for who writes it otherwise. */
export function collectPair(what: string) {
  return (text: string, before: Record<string, string> = {}): Record<string, string> => {
    const at = text.indexOf("=");
    if (at < 1) throw new InvalidArgumentError(`${what} is written key=value.`);
    return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
  };
}

export const collectLabel = collectPair("A label");

/** Collects the values of a repeatable option; commas separate too. */
export function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, ...text.split(",").filter((part) => part !== "")];
}

/** Collects the values of a repeatable option, commas and all. */
export function collectText(text: string, before: readonly string[] | boolean = []): string[] {
  return [...(Array.isArray(before) ? before : []), text];
}

export function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("Expected a whole number.");
  return Number(text);
}

/** A revision or a fence. */
export function parsePosition(text: string): bigint {
  if (!/^\d{1,18}$/.test(text)) throw new InvalidArgumentError("Expected a whole number.");
  return BigInt(text);
}

/** A TypeScript enum of generated code: short names to numbers, and back. */
export type ProtoEnum = Readonly<Record<string, string | number>>;

/** Short names of an enum, without UNSPECIFIED. */
export function enumNames(proto: ProtoEnum): string[] {
  return Object.keys(proto).filter((name) => Number.isNaN(Number(name)) && name !== "UNSPECIFIED");
}

/** Reads a repeatable option of enum names, in any case; `-` is as good as `_`, and the long name as the short one. */
export function collectEnum<E extends ProtoEnum>(proto: E, prefix: string) {
  return (text: string, before: readonly (keyof E & string)[] = []): (keyof E & string)[] => {
    const names = collect(text).map((part) => part.toUpperCase().replaceAll("-", "_").replace(prefix, ""));
    const wrong = names.find((name) => !enumNames(proto).includes(name));
    if (wrong !== undefined) {
      throw new InvalidArgumentError(`${wrong} is none of ${enumNames(proto).join(", ")}.`);
    }
    return [...before, ...(names as (keyof E & string)[])];
  };
}

/** Reads an option of one enum name. */
export function collectOne<E extends ProtoEnum>(proto: E, prefix: string) {
  return (text: string): keyof E & string => {
    const [name, more] = collectEnum(proto, prefix)(text);
    if (name === undefined || more !== undefined) {
      throw new InvalidArgumentError(`Expected one of ${enumNames(proto).join(", ")}.`);
    }
    return name;
  };
}

/** The short name of an enum's value; UNSPECIFIED for one that this client does not know. */
export function enumName(proto: ProtoEnum, value: number): string {
  return String(proto[value] ?? "UNSPECIFIED");
}
