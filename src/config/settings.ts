/**
 * Owns the table of settings: what each is called in the file, on the command line and in the environment,
 * what it may be, and what it is without being set. `docs/configuration.md` and the flags of `leasehold serve`
 * are made of it.
 *
 * Invariants:
 * 1. A setting is in this table or does not exist.
 */
import { z } from "zod";
import { hostNamePattern } from "../domain/host.js";
import { credentials } from "./credentials.js";
import { diskSettings } from "./disk-settings.js";
import { forges } from "./forges.js";
import { parseListenAddress } from "./listen-address.js";
import { setting, span } from "./setting.js";
import { sweeperSettings } from "./sweeper-settings.js";

const path = z
  .string()
  .min(1, "must not be empty")
  .refine((text) => !text.includes("\0"), "must have no NUL");

const toggle = z.union([z.boolean(), z.enum(["true", "false"]).transform((text) => text === "true")], {
  error: "must be true or false",
});

const addresses = z
  .preprocess((value) => (typeof value === "string" ? [value] : value), z.array(z.string()).min(1, "must not be empty"))
  .transform((texts, context) =>
    texts.flatMap((text) => {
      const address = parseListenAddress(text.trim());
      if (typeof address !== "string") return [address];
      context.addIssue({ code: "custom", message: address });
      return [];
    }),
  );

const texts = z.preprocess((value) => (typeof value === "string" ? [value] : value), z.array(z.string().min(1)));

const postgresUrl = z.string().regex(/^postgres(ql)?:\/\//, "must be a postgres:// URL");

export const settings = {
  listen: setting({
    key: "listen",
    flag: "listen",
    placeholder: "ADDRESS",
    repeats: true,
    environment: ["LEASEHOLD_LISTEN"],
    help: "Where to listen: HOST:PORT, [IPV6]:PORT or unix:/path. Port 0 picks one.",
    schema: addresses,
    default: ["127.0.0.1:7420"],
  }),
  dataDir: setting({
    key: "data_dir",
    flag: "data-dir",
    placeholder: "DIR",
    environment: ["LEASEHOLD_DATA_DIR"],
    help: "Directory of everything that the server keeps.",
    schema: path,
    default: ".leasehold",
    isPath: true,
  }),
  mirrorRoot: setting({
    key: "mirror_root",
    flag: "mirror-root",
    alias: "bare-path",
    placeholder: "DIR",
    environment: ["LEASEHOLD_MIRROR_ROOT"],
    help: "Directory of the bare mirrors.",
    schema: path.optional(),
    defaultHelp: "`mirrors` in the data directory",
    isPath: true,
  }),
  workspaceRoot: setting({
    key: "workspace_root",
    flag: "workspace-root",
    alias: "worktree-root",
    placeholder: "DIR",
    environment: ["LEASEHOLD_WORKSPACE_ROOT"],
    help: "Directory of the workspaces.",
    schema: path.optional(),
    defaultHelp: "`workspaces` in the data directory",
    isPath: true,
  }),
  holderUser: setting({
    key: "holder_user",
    flag: "holder-user",
    placeholder: "USER",
    environment: ["LEASEHOLD_HOLDER_USER"],
    help: "The user that jobs run as, by name or as UID[:GID]: workspaces are its own, and nothing else is. Needs a server that runs as root.",
    schema: z
      .preprocess(
        (value) => (typeof value === "number" ? String(value) : value),
        z
          .string()
          .regex(/^([a-zA-Z_][a-zA-Z0-9_.-]{0,63}|\d{1,10}(:\d{1,10})?)$/, "must be a user's name, UID or UID:GID"),
      )
      .optional(),
    defaultHelp: "the server's own user",
  }),
  databaseUrl: setting({
    key: "database_url",
    flag: "database-url",
    placeholder: "URL",
    environment: ["LEASEHOLD_DATABASE_URL", "DATABASE_URL"],
    help: "The Postgres to use.",
    schema: postgresUrl.optional(),
    defaultHelp: "an embedded Postgres in the data directory",
  }),
  databaseDirectUrl: setting({
    key: "database_direct_url",
    flag: "database-direct-url",
    placeholder: "URL",
    environment: ["LEASEHOLD_DATABASE_DIRECT_URL", "DATABASE_DIRECT_URL"],
    help: "The same Postgres past a connection pooler, for what needs a session of its own.",
    schema: postgresUrl.optional(),
    defaultHelp: "`database_url`",
  }),
  host: setting({
    key: "host",
    flag: "host",
    placeholder: "NAME",
    environment: ["LEASEHOLD_HOST"],
    help: "Name of this host among all that share the database.",
    schema: z.string().regex(hostNamePattern, "must be [a-zA-Z0-9][a-zA-Z0-9._-]{0,127}").optional(),
    defaultHelp: "the machine's name",
  }),
  tokensFile: setting({
    key: "auth.tokens_file",
    flag: "tokens-file",
    placeholder: "FILE",
    environment: ["LEASEHOLD_TOKENS_FILE"],
    help: "List of { caller, role, sha256 }: who may call with which bearer token. Read again when it changes.",
    schema: path.optional(),
    defaultHelp: "no authentication",
    isPath: true,
  }),
  allowCleartext: setting({
    key: "allow_cleartext",
    flag: "allow-cleartext",
    environment: ["LEASEHOLD_ALLOW_CLEARTEXT"],
    help: "Accept bearer tokens in clear text on addresses that are not loopback.",
    schema: toggle,
    default: false,
  }),
  allowUrls: setting({
    key: "allow_urls",
    flag: "allow-url",
    placeholder: "GLOB",
    repeats: true,
    environment: ["LEASEHOLD_ALLOW_URLS"],
    help: "URLs that runners may acquire by without an admin having registered them. Without authentication: any.",
    schema: texts,
    default: [],
  }),
  allowLocal: setting({
    key: "allow_local",
    flag: "allow-local",
    environment: ["LEASEHOLD_ALLOW_LOCAL"],
    help: "Allow local paths and file:// as upstreams. Without authentication they always are.",
    schema: toggle,
    default: false,
  }),
  forges: setting({
    key: "forges",
    help: "Forges whose issues and pull requests sessions may be about.",
    schema: forges,
    default: [],
  }),
  credentials: setting({
    key: "credentials",
    help: "Credentials for upstreams, by URL prefix or name.",
    schema: credentials,
    default: [],
  }),
  ttlMinMs: setting({
    key: "ttl_min",
    flag: "ttl-min",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_TTL_MIN"],
    help: "Shortest time to live that a lease is granted.",
    schema: span("1s", "24h"),
    default: "5s",
  }),
  ttlMaxMs: setting({
    key: "ttl_max",
    flag: "ttl-max",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_TTL_MAX"],
    help: "Longest time to live that a lease is granted.",
    schema: span("1s", "30d"),
    default: "24h",
  }),
  ttlDefaultMs: setting({
    key: "ttl_default",
    flag: "ttl-default",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_TTL_DEFAULT"],
    help: "Time to live of a lease that asks for none.",
    schema: span("1s", "30d"),
    default: "60s",
  }),
  drainLimitMs: setting({
    key: "drain_limit",
    flag: "drain-limit",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_DRAIN_LIMIT"],
    help: "How long running calls may take to finish when the server stops.",
    schema: span("0s", "1h"),
    default: "10s",
  }),
  eventRetentionMs: setting({
    key: "event_retention",
    flag: "event-retention",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_EVENT_RETENTION"],
    help: "How long events are kept for watchers that resume.",
    schema: span("1m", "365d"),
    default: "7d",
  }),
  upstreamTimeoutMs: setting({
    key: "upstream_timeout",
    flag: "upstream-timeout",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_UPSTREAM_TIMEOUT"],
    help: "How long a fetch from an upstream may take.",
    schema: span("1s", "24h"),
    default: "120s",
  }),
  firstCloneTimeoutMs: setting({
    key: "first_clone_timeout",
    flag: "first-clone-timeout",
    placeholder: "DURATION",
    environment: ["LEASEHOLD_FIRST_CLONE_TIMEOUT"],
    help: "How long the first mirroring of a repository may take.",
    schema: span("1s", "24h"),
    default: "30m",
  }),
  ...sweeperSettings,
  ...diskSettings,
  logLevel: setting({
    key: "log_level",
    flag: "log-level",
    placeholder: "LEVEL",
    environment: ["LEASEHOLD_LOG_LEVEL"],
    help: "fatal, error, warn, info, debug, trace or silent.",
    schema: z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"]),
    default: "info",
  }),
  logFormat: setting({
    key: "log_format",
    flag: "log-format",
    placeholder: "FORMAT",
    environment: ["LEASEHOLD_LOG_FORMAT"],
    help: "json, pretty, or auto: pretty on a terminal.",
    schema: z.enum(["auto", "json", "pretty"]),
    default: "auto",
  }),
} as const;

export type SettingName = keyof typeof settings;

export type SettingValues = { readonly [N in SettingName]: z.output<(typeof settings)[N]["schema"]> };
