/**
 * Owns: what every test file finds ready: `dist/` built from the sources, and one real Postgres.
 *
 * 1. Built once per run, before the first test: tests that start processes start them from `dist/`.
 * 2. The Postgres is the embedded one in a temporary directory, without fsync; it and the directory are gone after
 *    the run. `LEASEHOLD_TEST_POSTGRES` (`socket-directory-or-host:port:user:database`) names another one instead.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { type EmbeddedConnection, startEmbeddedPostgres } from "../src/postgres/embedded/embedded-postgres.js";
import { prepareTemplate } from "./support/database.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** The Postgres of this run; use `createDatabase` of test/support/database.ts. */
    postgres: EmbeddedConnection;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  execFileSync(process.execPath, ["setup/build.mjs"], { stdio: ["ignore", "inherit", "inherit"] });
  const given = process.env.LEASEHOLD_TEST_POSTGRES;
  if (given !== undefined) {
    const [host = "", port = "5432", user = "", database = ""] = given.split(":");
    const connection = { host, port: Number(port), user, database };
    await prepareTemplate(connection);
    project.provide("postgres", connection);
    return async () => undefined;
  }
  const directory = await mkdtemp(join(tmpdir(), "leasehold-test-"));
  const embedded = await startEmbeddedPostgres({
    dataDir: join(directory, "postgres"),
    fsync: false,
    log: () => undefined,
  });
  await prepareTemplate(embedded.connection);
  project.provide("postgres", embedded.connection);
  return async () => {
    await embedded.stop();
    await rm(directory, { recursive: true, force: true });
  };
}
