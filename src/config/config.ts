/**
 * Owns the configuration: from flags, environment and file to one frozen object.
 *
 * Invariants:
 * 1. A flag wins over the environment, the environment over the file, the file over the default.
 * 2. All faults are found in one run, and each names its key and where the value came from.
 * 3. Paths are absolute; durations are milliseconds.
 */
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { type DiskMark, isAbove } from "../domain/disk-mark.js";
import type { TtlBounds } from "../domain/lease.js";
import { type ConfigFile, readConfigFile } from "./config-file.js";
import type { CredentialConfig } from "./credentials.js";
import type { ForgeConfig } from "./forges.js";
import type { ListenAddress } from "./listen-address.js";
import { secretFileFault } from "./secret-file.js";
import type { Setting } from "./setting.js";
import { type SettingName, type SettingValues, settings } from "./settings.js";

export interface Config {
  /** The file that was read, if any. */
  readonly file: string | undefined;
  readonly listen: readonly ListenAddress[];
  readonly dataDir: string;
  readonly mirrorRoot: string;
  readonly workspaceRoot: string;
  /** As `NAME`, `UID` or `UID:GID`. Undefined: jobs run as the server's own user. */
  readonly holderUser: string | undefined;
  /** Undefined: the embedded Postgres. */
  readonly databaseUrl: string | undefined;
  readonly databaseDirectUrl: string | undefined;
  readonly host: string;
  /** Undefined: no authentication. */
  readonly tokensFile: string | undefined;
  readonly allowCleartext: boolean;
  readonly allowUrls: readonly string[];
  readonly allowLocal: boolean;
  readonly forges: readonly ForgeConfig[];
  readonly credentials: readonly CredentialConfig[];
  readonly ttl: TtlBounds;
  readonly drainLimitMs: number;
  readonly eventRetentionMs: number;
  readonly upstreamTimeoutMs: number;
  readonly firstCloneTimeoutMs: number;
  /** `intervalMs` 0: no sweep by itself. */
  readonly sweeper: {
    readonly intervalMs: number;
    readonly graceMs: number;
    readonly maxAgeMs: number;
    readonly orphanAgeMs: number;
  };
  readonly diskLow: DiskMark;
  readonly diskMinFree: DiskMark;
  readonly logLevel: SettingValues["logLevel"];
  readonly logFormat: SettingValues["logFormat"];
}

export interface ConfigSources {
  /** By the flag's name in camelCase, as commander gives them; `undefined` is not given. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/** Everything that is wrong with the configuration, a line each. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(
      faults.length === 1
        ? (faults[0] as string)
        : `${faults.length} faults in the configuration:\n  ${faults.join("\n  ")}`,
    );
    this.faults = faults;
  }
}

/** One flag of `leasehold serve`. */
export interface Flag {
  /** Without dashes. */
  readonly name: string;
  readonly alias?: string;
  /** Absent for a switch. */
  readonly placeholder?: string;
  readonly repeats: boolean;
  readonly help: string;
}

const table = Object.entries(settings) as unknown as readonly (readonly [SettingName, Setting])[];

/** All flags that `loadConfig` reads, `--config` first. */
export const configFlags: readonly Flag[] = [
  {
    name: "config",
    placeholder: "FILE",
    repeats: false,
    help: "The configuration file; default ./leasehold.yaml if it exists.",
  },
  ...table.flatMap(([, { flag, alias, placeholder, repeats, help }]) =>
    flag
      ? [{ name: flag, ...(alias && { alias }), ...(placeholder && { placeholder }), repeats: repeats ?? false, help }]
      : [],
  ),
];

/** Throws ConfigError with all faults. */
export function loadConfig(sources: ConfigSources): Config {
  const named = text(sources.flags.config) ?? text(sources.env.LEASEHOLD_CONFIG);
  const file = readConfigFile(
    named,
    sources.cwd,
    table.map(([, { key }]) => key),
  );
  const faults = [...file.faults];
  const values = Object.fromEntries(
    table.map(([name, setting]) => [name, readValue(setting, find(setting, sources, file, faults), faults)]),
  ) as unknown as SettingValues;
  if (faults.length === 0) faults.push(...faultsTogether(values));
  if (faults.length > 0) throw new ConfigError(faults);
  return deepFreeze(complete(values, file, sources.cwd));
}

interface Found {
  readonly value: unknown;
  /** For faults. */
  readonly source: string;
  readonly directory: string;
}

/** Invariant 1. */
function find(setting: Setting, { flags, env, cwd }: ConfigSources, file: ConfigFile, faults: string[]): Found {
  const given = [setting.flag, setting.alias]
    .filter((flag) => flag !== undefined)
    .map((flag) => ({ flag, value: flags[camelCase(flag)] }))
    .filter(({ value }) => value !== undefined && !(Array.isArray(value) && value.length === 0));
  if (given.length > 1) faults.push(`${setting.key}: is given as --${setting.flag} and as --${setting.alias}`);
  const [first] = given;
  if (first) return { value: first.value, source: `--${first.flag}`, directory: cwd };
  for (const name of setting.environment ?? []) {
    const value = text(env[name]);
    if (value === undefined) continue;
    return {
      value: setting.repeats ? value.split(",").map((part) => part.trim()) : value,
      source: name,
      directory: cwd,
    };
  }
  if (file.values.has(setting.key)) {
    return { value: file.values.get(setting.key) ?? undefined, source: file.path ?? "", directory: file.directory };
  }
  return { value: setting.default, source: "default", directory: cwd };
}

function readValue(setting: Setting, { value, source, directory }: Found, faults: string[]): unknown {
  const result = setting.schema.safeParse(value ?? setting.default);
  if (!result.success) {
    for (const { path, message } of result.error.issues) {
      const place = path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
      faults.push(`${setting.key}${place}: ${message} (${source === "default" ? "default" : `from ${source}`})`);
    }
    return undefined;
  }
  if (setting.key === "credentials")
    return (result.data as CredentialConfig[]).map((entry) => resolved(entry, directory));
  if (setting.key === "forges")
    return (result.data as ForgeConfig[]).map((entry, index) => readable(entry, index, directory, faults));
  return setting.isPath && typeof result.data === "string" ? resolve(directory, result.data) : result.data;
}

function resolved(credential: CredentialConfig, directory: string): CredentialConfig {
  const { passwordFile, keyFile, knownHostsFile, askpass } = credential;
  return {
    ...credential,
    ...(passwordFile && { passwordFile: resolve(directory, passwordFile) }),
    ...(keyFile && { keyFile: resolve(directory, keyFile) }),
    ...(knownHostsFile && { knownHostsFile: resolve(directory, knownHostsFile) }),
    ...(askpass && { askpass: resolve(directory, askpass) }),
  };
}

/** Secrets of forges are needed when nobody is there to see a fault: they are looked at before anything is started. */
function readable(forge: ForgeConfig, index: number, directory: string, faults: string[]): ForgeConfig {
  const tokenFile = forge.tokenFile && resolve(directory, forge.tokenFile);
  const webhookSecretFile = forge.webhookSecretFile && resolve(directory, forge.webhookSecretFile);
  for (const [key, path] of Object.entries({ token_file: tokenFile, webhook_secret_file: webhookSecretFile })) {
    const fault = path && secretFileFault(path);
    if (fault) faults.push(`forges[${index}].${key}: ${fault}`);
  }
  return { ...forge, ...(tokenFile && { tokenFile }), ...(webhookSecretFile && { webhookSecretFile }) };
}

function faultsTogether({ ttlMinMs, ttlDefaultMs, ttlMaxMs, diskLow, diskMinFree }: SettingValues): string[] {
  const isOrdered = ttlMinMs <= ttlDefaultMs && ttlDefaultMs <= ttlMaxMs;
  return [
    ...(isOrdered ? [] : ["ttl_default: must be between ttl_min and ttl_max"]),
    // a share and a number of bytes are compared when the disk is known
    ...(isAbove(diskMinFree, diskLow) ? ["disk_min_free: must not be above disk_low"] : []),
  ];
}

function complete(values: SettingValues, file: ConfigFile, cwd: string): Config {
  const { ttlMinMs, ttlMaxMs, ttlDefaultMs, listen, ...others } = values;
  const { sweeperIntervalMs, sweeperGraceMs, sweeperMaxAgeMs, sweeperOrphanAgeMs, ...rest } = others;
  return {
    ...rest,
    file: file.path,
    listen: listen.map((address) =>
      address.kind === "unix" ? { ...address, path: resolve(cwd, address.path) } : address,
    ),
    mirrorRoot: rest.mirrorRoot ?? join(rest.dataDir, "mirrors"),
    workspaceRoot: rest.workspaceRoot ?? join(rest.dataDir, "workspaces"),
    databaseDirectUrl: rest.databaseDirectUrl ?? rest.databaseUrl,
    host: rest.host ?? defaultHost(hostname()),
    sweeper: {
      intervalMs: sweeperIntervalMs,
      graceMs: sweeperGraceMs,
      maxAgeMs: sweeperMaxAgeMs,
      orphanAgeMs: sweeperOrphanAgeMs,
    },
    ttl: { min: ttlMinMs, max: ttlMaxMs, default: ttlDefaultMs },
  };
}

/** The machine's name, made fit to be a host's. */
export function defaultHost(machine: string): string {
  return (
    machine
      .replace(/[^a-zA-Z0-9._-]/g, "-")
      .replace(/^[._-]+/, "")
      .slice(0, 128) || "host"
  );
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function camelCase(flag: string): string {
  return flag.replace(/-([a-z])/g, (_match, letter: string) => letter.toUpperCase());
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const part of Object.values(value)) deepFreeze(part);
    Object.freeze(value);
  }
  return value;
}
