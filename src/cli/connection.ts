/** Owns how a command reaches the server: its options, its token, and what is said when nobody answers. */
import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import type { Client, LeaseholdError } from "../client/index.js";
import { timeout } from "../client/timeout.js";
import { parseDuration } from "./duration.js";
import { CommandError, exitCodes } from "./exit-codes.js";

export interface ConnectionOptions {
  readonly address?: string;
  readonly tokenFile?: string;
  readonly protocol: "grpc" | "connect";
}

export interface CallOptions extends ConnectionOptions {
  /** Milliseconds. */
  readonly timeout: number;
}

/** Adds the options that say where the server is. */
export function withConnection(command: Command): Command {
  return command
    .option(
      "--address <address>",
      "http://HOST:PORT, https://HOST:PORT or unix:/path (default: LEASEHOLD_ADDRESS or http://127.0.0.1:7420)",
    )
    .option("--token-file <path>", "file with the server's bearer token (default: LEASEHOLD_TOKEN is the token)")
    .addOption(
      new Option("--protocol <protocol>", "gRPC over HTTP/2, or Connect over HTTP/1.1 for proxies that know no other")
        .choices(["grpc", "connect"])
        .default("grpc"),
    );
}

/** Adds those, and how long one call may take. */
export function withCall(command: Command, timeoutMs = 30_000): Command {
  return withConnection(command).option(
    "--timeout <duration>",
    "how long to wait for an answer; 27h at most",
    (text: string) => timeout(parseDuration(text)),
    timeoutMs,
  );
}

export async function openClient(options: ConnectionOptions): Promise<Client> {
  const { connect } = await import("../client/index.js");
  const { address, tokenFile, protocol } = options;
  const token = tokenFile === undefined ? undefined : readToken(tokenFile);
  try {
    return connect({ protocol, ...(address !== undefined && { address }), ...(token !== undefined && { token }) });
  } catch (error) {
    if (error instanceof TypeError) throw new CommandError(error.message, exitCodes.usage);
    throw error;
  }
}

/** Runs `body` with a client, and closes its connections. */
export async function withClient<T>(options: ConnectionOptions, body: (client: Client) => Promise<T>): Promise<T> {
  const client = await openClient(options);
  try {
    return await body(client);
  } catch (error) {
    throw await withHint(error, client);
  } finally {
    client.close();
  }
}

/** Says how to start a server where none answers. */
async function withHint(error: unknown, client: Client): Promise<unknown> {
  const { asLeaseholdError, UnreachableError } = await import("../client/index.js");
  const { ConnectError } = await import("@connectrpc/connect");
  const known = error instanceof ConnectError ? asLeaseholdError(error) : error;
  if (!(known instanceof UnreachableError)) return known;
  return new UnreachableError(
    `no server answers at ${client.address}. Start one with \`leasehold serve\`, or name another with --address or LEASEHOLD_ADDRESS.`,
    { reason: known.reason, code: known.code, cause: known.cause },
  );
}

/** What is said on standard error of a call that failed. */
export function describe(error: LeaseholdError): string {
  const reason = error.reason === "UNSPECIFIED" ? error.code : error.reason;
  const fields = error.fields.map(({ field, description }) => `\n  ${field}: ${description}`);
  const known = new Set(["end_reason", "position"]);
  const facts = Object.entries(error.metadata)
    .filter(([key, value]) => known.has(key) && value !== "" && !error.message.includes(value))
    .map(([key, value]) => ` (${key.replaceAll("_", " ")}: ${value})`);
  return `${error.message}${facts.join("")} [${reason}]${fields.join("")}`;
}

function readToken(path: string): string {
  try {
    const token = readFileSync(path, "utf8").trim();
    if (/^[\x21-\x7e]+$/.test(token)) return token;
  } catch (error) {
    throw new CommandError(`--token-file: cannot read ${path}: ${(error as Error).message}`, exitCodes.usage);
  }
  throw new CommandError(`--token-file: ${path} does not hold one token`, exitCodes.usage);
}
