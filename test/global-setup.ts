/**
 * Owns: what every test file finds ready: `dist/` built from the sources, and one real Postgres.
 *
 * 1. Built once per run, before the first test: tests that start processes start them from `dist/`.
 * 2. The Postgres is the embedded one in a temporary directory, without fsync; it and the directory are gone after
 *    the run, also where it cannot begin. `LEASEHOLD_TEST_POSTGRES` (`socket-directory-or-host:port:user:database`) names another one instead.
 * 3. Nothing of the configuration of whoever runs the tests reaches them.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import {
  type EmbeddedConnection,
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from "../src/postgres/embedded/embedded-postgres.js";
import { prepareTemplate } from "./support/database.js";
import { forgetConfiguration } from "./support/environment.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** The Postgres of this run; use `createDatabase` of test/support/database.ts. */
    postgres: EmbeddedConnection;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  forgetConfiguration();
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
  let embedded: EmbeddedPostgres | undefined;
  const tearDown = async () => {
    await embedded?.stop();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    embedded = await startEmbeddedPostgres({
      dataDir: join(directory, "postgres"),
      fsync: false,
      log: () => undefined,
    });
    await prepareTemplate(embedded.connection);
    project.provide("postgres", embedded.connection);
  } catch (error) {
    // vitest asks for no tear-down where the set-up failed
    await tearDown();
    throw error;
  }
  return tearDown;
}
