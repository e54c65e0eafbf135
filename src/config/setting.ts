/** Owns what a setting is, and how durations are read. */
import { z } from "zod";
import { parseDuration } from "./duration.js";

export interface Setting<T = unknown> {
  /** Key in the file; a dot goes one level down. */
  readonly key: string;
  /** Long flag without dashes; absent for settings with structure, which exist in the file alone. */
  readonly flag?: string;
  /** A second name of the flag. */
  readonly alias?: string;
  /** What stands for the value in the flag's help; absent for a switch. */
  readonly placeholder?: string;
  /** May be given several times; in the environment, separated by commas. */
  readonly repeats?: boolean;
  /** Names in the environment, the first that is set counts. */
  readonly environment?: readonly string[];
  readonly help: string;
  readonly schema: z.ZodType<T>;
  /** As it would be written; absent: unset. */
  readonly default?: unknown;
  /** What the documentation says about the default where it is computed. */
  readonly defaultHelp?: string;
  /** A path, relative to the working directory, or to the file where it is set there. */
  readonly isPath?: boolean;
}

export function setting<T>(entry: Setting<T>): Setting<T> {
  return entry;
}

export function span(min: string, max: string) {
  return z.string("must be a duration such as 10s, 6h or 7d").transform((text, context) => {
    const ms = parseDuration(text);
    const isRight = ms !== undefined && ms >= (parseDuration(min) ?? 0) && ms <= (parseDuration(max) ?? 0);
    if (isRight) return ms;
    context.addIssue({ code: "custom", message: `must be a duration from ${min} to ${max}, such as 10s, 6h or 7d` });
    return z.NEVER;
  });
}

/** A duration; a bare number counts `unit`s. */
export function spanOf(unit: "h" | "d", min: string, max: string) {
  const asText = (value: unknown) => (typeof value === "number" ? String(value) : value);
  const counted = (text: unknown) => {
    if (typeof text !== "string" || !/^\d{1,9}(\.\d{1,9})?$/.test(text)) return text;
    return `${Math.round(Number(text) * (unit === "h" ? 3_600 : 86_400))}s`;
  };
  return z.preprocess((value) => counted(asText(value)), span(min, max));
}
