/**
 * Owns: asking a Postgres on a socket whether it serves, and who else uses it.
 *
 * 1. Readiness is seen by connecting, never by the text of a log.
 * 2. Every question ends within its limit, also when Postgres is frozen.
 */
import postgres from "postgres";

/** Where clients find it; there is no password. */
export interface EmbeddedConnection {
  /** The socket's directory. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

/** What a probe can find: it answers; something is there but does not serve (yet); nothing listens. */
export type Presence = "ready" | "busy" | "absent";

const answerLimitMs = 5_000;

/** SQLSTATEs and the codes of Node and the driver. */
const absent = new Set(["ENOENT", "ECONNREFUSED"]);
const busy = new Set([
  "57P01", // is being shut down
  "57P02", // recovers from a crash
  "57P03", // starts or shuts down
  "CONNECTION_CLOSED",
  "CONNECTION_ENDED",
  "CONNECTION_DESTROYED",
  "CONNECT_TIMEOUT",
  "ECONNRESET",
  "EPIPE",
]);
const noSuchDatabase = "3D000";
const databaseExists = new Set(["42P04", "23505"]);
const tooManyConnections = "53300";

/** Connects once; makes the database on the first time. Throws for what waiting does not mend. */
export async function probe(connection: EmbeddedConnection): Promise<Presence> {
  try {
    await ask(connection, (sql) => sql`select 1`);
    return "ready";
  } catch (error) {
    const code = (error as { code?: string }).code ?? "";
    if (code === noSuchDatabase) {
      await createDatabase(connection);
      return "busy"; // look again
    }
    if (absent.has(code)) {
      return "absent";
    }
    if (busy.has(code)) {
      return "busy";
    }
    if (code === tooManyConnections) {
      return "ready";
    }
    throw new Error(`the embedded Postgres in ${connection.host} refuses this process: ${(error as Error).message}`);
  }
}

/** How many clients are connected, this question's own connection not counted; undefined if it does not answer. */
export async function countClients(connection: EmbeddedConnection): Promise<number | undefined> {
  try {
    const rows = await ask(
      connection,
      (sql) => sql<{ clients: number }[]>`
        select count(*)::int as clients
        from pg_stat_activity
        where backend_type = 'client backend' and pid <> pg_backend_pid()`,
    );
    return rows[0]?.clients;
  } catch {
    return undefined;
  }
}

async function createDatabase(connection: EmbeddedConnection): Promise<void> {
  try {
    await ask({ ...connection, database: "postgres" }, (sql) => sql`create database ${sql(connection.database)}`);
  } catch (error) {
    if (!databaseExists.has((error as { code?: string }).code ?? "")) {
      throw error;
    }
  }
}

async function ask<T>(connection: EmbeddedConnection, question: (sql: postgres.Sql) => PromiseLike<T>): Promise<T> {
  const sql = postgres({
    ...connection,
    max: 1,
    ssl: false,
    fetch_types: false,
    connect_timeout: answerLimitMs / 1000,
    onnotice: () => undefined,
    connection: { application_name: "leasehold probe" },
  });
  const limit = setTimeout(() => void sql.end({ timeout: 0 }), answerLimitMs);
  try {
    return await question(sql);
  } finally {
    clearTimeout(limit);
    await sql.end({ timeout: 0 }).catch(() => undefined);
  }
}
