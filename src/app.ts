/**
 * Owns the composition of the whole server: the only place that sees services and adapters together.
 *
 * Invariants:
 * 1. What is started last is stopped first; a start that fails stops what it has started.
 * 2. Stopping drains: nobody's lease ends because of it, and no work that was begun is forgotten.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Config } from "./config/config.js";
import { ConfiguredCredentials } from "./credentials/configured-credentials.js";
import { openDataDirectory } from "./data-directory.js";
import { LocalDisk } from "./disk/host-disk.js";
import { HttpForges } from "./forge/http-forges.js";
import { SignedWebhooks } from "./forge/signed-webhooks.js";
import { createGitEngine } from "./git/engine.js";
import { checkReach, type Directories, findHolderUser, shieldDirectories } from "./holder-user.js";
import type { Log } from "./log.js";
import { connectPool } from "./postgres/client.js";
import { startEmbeddedPostgres } from "./postgres/embedded/embedded-postgres.js";
import { openStore } from "./postgres/store.js";
import { allowedAddress } from "./rpc/http/exposure.js";
import { startRpcServer } from "./rpc/server.js";
import { TokensFile } from "./rpc/tokens-file.js";
import { startServices } from "./service/start.js";

export interface App {
  /** `http://HOST:PORT` or `unix:/path`. */
  readonly addresses: readonly string[];
  /** Drains and stops everything. Idempotent. */
  stop(): Promise<void>;
}

export interface AppOptions {
  /** The built entry of the git workers; given by tests that run from sources. */
  readonly gitWorkerEntry?: string;
}

export const version: string = JSON.parse(readFileSync(new URL(packageFile(), import.meta.url), "utf8")).version;

export async function startApp(config: Config, log: Log, options: AppOptions = {}): Promise<App> {
  const stops: (() => Promise<unknown>)[] = [];
  const stopAll = async () => {
    for (const stop of stops.splice(0).reverse()) {
      await stop().catch((error) => log.error({ err: error }, "could not stop a part of the server"));
    }
  };
  try {
    await refuseExposure(config);
    const holder = await findHolderUser(config.holderUser, `${config.dataDir}/postgres`, config.databaseUrl);
    if (holder) checkReach(holder, config);
    const data = await openDataDirectory(config.dataDir, [config.mirrorRoot, config.workspaceRoot]);
    if (holder) await shieldDirectories(holder, { ...config, dataDir: data.path });
    const connections = await openDatabase(config, data.path, log, stops);
    const store = await openStore({ ...connections, hostName: config.host, dataId: data.id });
    stops.push(() => store.close());
    const git = createGitEngine({
      workerEntry: options.gitWorkerEntry ?? fileURLToPath(new URL("./git/worker/main.js", import.meta.url)),
      log: (fields, message) => log.info(fields, message),
      ...(holder && { holder }),
    });
    if (holder) log.info({ uid: holder.uid, gid: holder.gid }, "workspaces belong to the holders' user");
    stops.push(() => git.close());
    const services = await startServices({
      store,
      git,
      disk: new LocalDisk(data.path, [config.mirrorRoot, config.workspaceRoot]),
      credentials: new ConfiguredCredentials(config.credentials),
      forges: new HttpForges(config.forges),
      webhooks: new SignedWebhooks(config.forges),
      settings: { ...config, dataDir: data.path, authentication: config.tokensFile !== undefined },
      version,
      components: { nodegit: createRequire(import.meta.url)("nodegit/package.json").version },
      log,
    });
    stops.push(() => services.stop());
    const tokens = config.tokensFile === undefined ? undefined : await TokensFile.open(config.tokensFile, log);
    const rpc = await startRpcServer({
      listen: config.listen,
      services,
      webhooks: services.deliveries,
      credentials: tokens,
      allowCleartext: config.allowCleartext,
      log,
      readiness: services.readiness,
    });
    stops.push(async () => {
      services.drain();
      await rpc.drain(config.drainLimitMs);
    });
    let stopped: Promise<void> | undefined;
    return { addresses: rpc.addresses, stop: () => (stopped ??= stopAll()) };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

async function openDatabase(config: Config, dataDir: string, log: Log, stops: (() => Promise<unknown>)[]) {
  const { databaseUrl, databaseDirectUrl } = config;
  if (databaseUrl !== undefined) {
    return { connection: { url: databaseUrl }, direct: { url: databaseDirectUrl ?? databaseUrl } };
  }
  const embedded = await startEmbeddedPostgres({
    dataDir: `${dataDir}/postgres`,
    log: (fields, message) => log.info(fields, message),
  });
  stops.push(() => embedded.stop());
  return { connection: embedded.connection, direct: embedded.connection };
}

/** What may not be listened on is refused before anything is made. */
async function refuseExposure({ listen, tokensFile, allowCleartext }: Config): Promise<void> {
  const exposure = { hasAuthentication: tokensFile !== undefined, allowsCleartext: allowCleartext };
  for (const address of listen) if (address.kind === "tcp") await allowedAddress(address.host, exposure);
}

/** Which layout a server of these settings has, in words; fails where it could not have it. */
export async function askLayout(settings: Pick<Config, "holderUser" | "databaseUrl"> & Directories): Promise<string> {
  const { holderUser, databaseUrl, dataDir } = settings;
  const holder = await findHolderUser(holderUser, `${dataDir}/postgres`, databaseUrl);
  if (!holder) return "one uid: jobs run as the server's own user, and are trusted not to attack it";
  checkReach(holder, settings);
  return `two uids: jobs run as uid ${holder.uid}, who can change nothing but its workspaces`;
}

/** The version of the Postgres at `url`; fails if it does not answer. */
export async function askDatabase(url: string): Promise<string> {
  const sql = connectPool({ url }, { max: 1, name: "leasehold doctor" });
  try {
    const [row] = await sql<{ version: string }[]>`select current_setting('server_version') as version`;
    return row?.version ?? "";
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** From `src/`, or from `dist/src/`. */
function packageFile(): string {
  return import.meta.url.endsWith("/dist/src/app.js") ? "../../package.json" : "../package.json";
}
