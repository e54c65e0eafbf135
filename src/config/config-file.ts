/** Owns reading `leasehold.yaml`: where it is, what is in it, and which keys of it are unknown. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { isRecord } from "../domain/record.js";

export const defaultFileName = "leasehold.yaml";

export interface ConfigFile {
  /** Absolute path; undefined if there is none. */
  readonly path: string | undefined;
  /** What paths in it are relative to. */
  readonly directory: string;
  /** Values by dotted key. */
  readonly values: ReadonlyMap<string, unknown>;
  readonly faults: readonly string[];
}

/** `named`: what the flag or the environment says; undefined: the default file, if it exists. */
export function readConfigFile(named: string | undefined, cwd: string, knownKeys: readonly string[]): ConfigFile {
  const path = resolve(cwd, named ?? defaultFileName);
  if (named === undefined && !existsSync(path))
    return { path: undefined, directory: cwd, values: new Map(), faults: [] };
  const file = { path, directory: dirname(path) };
  try {
    const content: unknown = parse(readFileSync(path, "utf8")) ?? {};
    if (!isRecord(content)) return { ...file, values: new Map(), faults: [`${path}: must have keys and values`] };
    const values = new Map<string, unknown>();
    const faults = collect(content, "", knownKeys, values).map((key) => `${key}: is no setting (in ${path})`);
    return { ...file, values, faults };
  } catch (error) {
    const { message } = error as Error;
    return { ...file, values: new Map(), faults: [`${path}: cannot be read: ${message.split("\n", 1)[0]}`] };
  }
}

/** Sorts the content into `values`; answers the keys that are unknown. */
function collect(
  content: Readonly<Record<string, unknown>>,
  prefix: string,
  known: readonly string[],
  values: Map<string, unknown>,
): string[] {
  return Object.entries(content).flatMap(([name, value]) => {
    const key = `${prefix}${name}`;
    if (known.includes(key)) {
      values.set(key, value);
      return [];
    }
    const isGroup = known.some((other) => other.startsWith(`${key}.`));
    if (isGroup && value === null) return [];
    return isGroup && isRecord(value) ? collect(value, `${key}.`, known, values) : [key];
  });
}
