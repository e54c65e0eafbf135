/**
 * Owns the pool of connections, and what becomes of a driver's errors.
 *
 * Invariants:
 * 1. The driver's `begin` and `reserve` are used nowhere: with a dead backend they end the process or hang
 *    (porsager/postgres #1066, #1186, #1195). Every transition is one statement.
 * 2. A statement that may be sent again is sent again when the connection broke under it; all of ours may,
 *    since they compare and set, or find what they did before.
 * 3. No text of the driver or of Postgres reaches a caller: it is in `cause`.
 */
import postgres from "postgres";
import { Failure } from "../domain/failure.js";

/** How to reach a Postgres: a URL, or the parts of one on a unix socket. */
export type PostgresConnection =
  | { readonly url: string }
  | { readonly host: string; readonly port: number; readonly user: string; readonly database: string };

export type Sql = postgres.Sql;
/** A statement's value that goes in as jsonb. */
export type Json = postgres.JSONValue;

export const schema = "leasehold";

export interface PoolOptions {
  readonly max: number;
  readonly name: string;
  /** Called when a connection of the pool has closed. */
  readonly onClose?: () => void;
  /** Milliseconds after which the database ends an idle session; 0: never. */
  readonly idleSessionTimeoutMs?: number;
}

export function connectPool(connection: PostgresConnection, options: PoolOptions): Sql {
  const settings = {
    max: options.max,
    // a statement must not wait behind a slow one on the same connection; not in the driver's types
    max_pipeline: 0,
    fetch_types: false,
    connect_timeout: 5,
    max_lifetime: null,
    idle_timeout: 0,
    backoff: (attempt: number) => Math.min(0.05 * 2 ** attempt, 0.5),
    onnotice: () => {},
    ...(options.onClose ? { onclose: options.onClose } : {}),
    connection: {
      application_name: options.name,
      search_path: schema,
      statement_timeout: 30_000,
      lock_timeout: 10_000,
      idle_in_transaction_session_timeout: 10_000,
      ...(options.idleSessionTimeoutMs ? { idle_session_timeout: options.idleSessionTimeoutMs } : {}),
    },
  };
  if (!("url" in connection)) return postgres({ ...settings, ...connection });
  const { url, directory } = splitSocket(connection.url);
  return postgres(url, directory === undefined ? settings : { ...settings, host: directory });
}

/**
 * Takes a unix socket's directory out of a URL, in either of libpq's spellings, which the driver does not know:
 * percent-encoded in the host's place, or as `?host=/directory`.
 */
function splitSocket(text: string): { readonly url: string; readonly directory?: string } {
  if (!URL.canParse(text)) return { url: text };
  const url = new URL(text);
  const directory = url.searchParams.get("host") ?? decodeURIComponent(url.hostname);
  if (!directory.startsWith("/")) return { url: text };
  url.searchParams.delete("host");
  url.hostname = "localhost";
  return { url: url.href, directory };
}

const brokenConnection = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_ENDED",
  "CONNECTION_DESTROYED",
  "CONNECT_TIMEOUT",
  "ECONNRESET",
  "ECONNREFUSED",
  "EPIPE",
  "ENOENT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "57P01",
  "57P02",
  "57P03",
  "57P05",
  "53300",
  "25P03",
]);
const conflict = new Set(["40001", "40P01", "55P03", "23505"]);

export function errorCode(error: unknown): string {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
}

/** Whether the connection broke, or could not be made. */
export function isBroken(error: unknown): boolean {
  return brokenConnection.has(errorCode(error));
}

/**
 * Runs a statement, again if the connection broke or a conflict ended it, for about two seconds.
 * Fails with DATABASE_UNAVAILABLE when the database stays away; the outcome is unknown then.
 */
export async function run<T>(statement: () => PromiseLike<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await statement();
    } catch (error) {
      const code = errorCode(error);
      const broken = brokenConnection.has(code);
      if (!broken && !conflict.has(code)) throw error;
      if (attempt < 7 && code !== "CONNECTION_ENDED") {
        await new Promise((resolve) => setTimeout(resolve, Math.min(25 * 2 ** attempt, 500)));
        continue;
      }
      if (!broken) throw error;
      throw new Failure("DATABASE_UNAVAILABLE", "the database cannot be reached", {
        cause: error,
        retryAfterMs: 1_000,
      });
    }
  }
}

/** The only row of an answer that always has one. */
export function only<T>(rows: readonly T[]): T {
  const [row] = rows;
  if (row === undefined) throw new Error("a statement that always answers one row answered none");
  return row;
}

/** A Postgres array literal of integers. */
export function integers(values: readonly (bigint | number)[]): string {
  return `{${values.join(",")}}`;
}
