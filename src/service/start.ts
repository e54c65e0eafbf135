/**
 * Owns the making of all services over the ports, and the order in which they start and stop.
 */
import { setMaxListeners } from "node:events";
import type { DiskMark } from "../domain/disk-mark.js";
import type { TtlBounds } from "../domain/lease.js";
import type { TokenSecret } from "../domain/lease-token.js";
import type { Credentials } from "../ports/credentials.js";
import type { DeliveryStore } from "../ports/delivery-store.js";
import type { DependencyStore } from "../ports/dependency-store.js";
import type { EventLog } from "../ports/event-log.js";
import type { Forges } from "../ports/forges.js";
import type { GitEngine } from "../ports/git-engine.js";
import type { HostDisk } from "../ports/host-disk.js";
import type { HostOwnership, HostStore } from "../ports/host-store.js";
import type { LeaseStore, TicketBoard, TicketDesk, WorkspacePool } from "../ports/lease-store.js";
import type { Logger } from "../ports/logger.js";
import type { RepositoryStore } from "../ports/repository-store.js";
import type { SalvageStore } from "../ports/salvage-store.js";
import type { SessionStore } from "../ports/session-store.js";
import type { SweepLimits, SweepStore } from "../ports/sweep-store.js";
import type { UsageStore } from "../ports/usage-store.js";
import type { Wake } from "../ports/wake.js";
import type { Webhooks } from "../ports/webhooks.js";
import type { WorkspaceStore } from "../ports/workspace-store.js";
import { AdministrationService } from "./administration.js";
import { Cleaning } from "./cleaning/cleaning.js";
import { Dependencies } from "./cleaning/dependencies.js";
import { Keeper } from "./cleaning/keeper.js";
import { Salvages } from "./cleaning/salvages.js";
import { Salvaging } from "./cleaning/salvaging.js";
import { Submodules } from "./cleaning/submodules.js";
import { Verifying } from "./cleaning/verifying.js";
import { Room } from "./disk/room.js";
import { Acquiring } from "./leases/acquiring.js";
import { Granting } from "./leases/granting.js";
import { Handover } from "./leases/handover.js";
import { Heartbeats } from "./leases/heartbeats.js";
import { Leasing } from "./leases/leasing.js";
import { Registry } from "./leases/registry.js";
import { Seats } from "./leases/seats.js";
import { Mirrors } from "./mirrors/mirrors.js";
import { Warming } from "./mirrors/warming.js";
import { Places } from "./places.js";
import { Pulse } from "./pulse.js";
import type { Services } from "./services.js";
import { SessionKeeping } from "./session-keeping.js";
import { SweepWork } from "./sweep/sweep-work.js";
import { Watching } from "./watching.js";
import type { Deliveries } from "./webhooks/deliveries.js";
import { ForgeWork } from "./webhooks/forge-work.js";

/** An open store, by its ports. */
export interface ServiceStore {
  readonly secret: TokenSecret;
  readonly version: string;
  readonly tickets: TicketDesk & TicketBoard;
  readonly leases: LeaseStore;
  readonly pool: WorkspacePool;
  readonly work: WorkspaceStore;
  readonly salvages: SalvageStore;
  readonly sessions: SessionStore;
  readonly sweeps: SweepStore;
  readonly dependencies: DependencyStore;
  readonly deliveries: DeliveryStore;
  readonly repositories: RepositoryStore;
  readonly hosts: HostStore;
  readonly events: EventLog;
  readonly usage: UsageStore;
  readonly wake: Wake & { start(): Promise<void>; stop(): Promise<void> };
  readonly ownership: HostOwnership & { start(): Promise<void>; stop(): Promise<void> };
  ping(): Promise<void>;
}

export interface ServiceSettings {
  readonly dataDir: string;
  readonly mirrorRoot: string;
  readonly workspaceRoot: string;
  readonly authentication: boolean;
  readonly allowUrls: readonly string[];
  readonly allowLocal: boolean;
  readonly ttl: TtlBounds;
  readonly drainLimitMs: number;
  readonly eventRetentionMs: number;
  readonly upstreamTimeoutMs: number;
  readonly firstCloneTimeoutMs: number;
  readonly sweeper: SweepLimits & { readonly intervalMs: number };
  readonly diskLow: DiskMark;
  readonly diskMinFree: DiskMark;
}

export interface ServiceOptions {
  readonly store: ServiceStore;
  readonly git: GitEngine;
  readonly disk: HostDisk;
  readonly credentials: Credentials;
  readonly forges: Forges;
  readonly webhooks: Webhooks;
  readonly settings: ServiceSettings;
  readonly version: string;
  /** Versions of what the adapters are built of. */
  readonly components: Readonly<Record<string, string>>;
  readonly log: Logger;
}

export interface RunningServices extends Services {
  readonly deliveries: Deliveries;
  readonly readiness: () => Promise<{ readonly ok: boolean; readonly detail: string }>;
  /** From now on watchers and waiting Acquires end with DRAINING. */
  drain(): void;
  /** Finishes or gives up what runs, and gives ownership up. */
  stop(): Promise<void>;
}

const bookmarkMs = 15_000;
const maxBehind = 5_000;

export async function startServices(options: ServiceOptions): Promise<RunningServices> {
  const { store, git, credentials, settings, log } = options;
  const { repositories, ownership, wake, leases, pool, events, hosts, work, tickets, secret } = store;
  const { authentication, allowUrls, allowLocal, ttl } = settings;
  const draining = new AbortController();
  setMaxListeners(0, draining.signal);
  const places = new Places(settings.dataDir, settings.mirrorRoot, settings.workspaceRoot);
  const limits = { fetchMs: settings.upstreamTimeoutMs, cloneMs: settings.firstCloneTimeoutMs };
  const registry = new Registry({ repositories, credentials, policy: { authentication, allowUrls, allowLocal } });
  const marks = { low: settings.diskLow, minFree: settings.diskMinFree };
  const room = await Room.open(options.disk, marks, ownership.host.name, log);
  const { disk, reserve } = room;
  const mirrors = new Mirrors({ repositories, git, credentials, places, disk, limits, wake, log });
  const submodules = new Submodules({ git, mirrors, registry, credentials, places, limits, log });
  const seats = new Seats();
  const salvages = new Salvages({ store: store.salvages, git, places, log });
  const salvaging = new Salvaging({ salvages: store.salvages, git, mirrors, places, reserve, log });
  const files = { store: store.dependencies, repositories, files: git };
  const dependencies = new Dependencies({ ...files, places, ownership, log });
  const cleaning = new Cleaning({ work, git, salvaging, mirrors, dependencies, places, submodules, log });
  const shared = { repositories, mirrors, submodules, git, dependencies, disk, places, ownership, wake, log };
  const handover = new Handover({ git, cleaning, places, log });
  const granting = new Granting({ ...shared, board: tickets, salvages, handover, seats });
  const keeper = new Keeper({ ...shared, work, granting, cleaning, salvaging });
  room.keptBy(keeper, { ...shared, usage: store.usage });
  const { signal } = draining;
  const watching = new Watching({
    events,
    pool,
    storeId: secret.storeId,
    draining: signal,
    log,
    bookmarkMs,
    maxBehind,
  });
  const acquiring = new Acquiring({
    desk: tickets,
    hosts,
    ownership,
    granting,
    registry,
    salvages,
    seats,
    wake,
    secret,
    ttl,
    forges: options.forges.configured,
    draining: signal,
  });
  const heartbeats = new Heartbeats(leases);
  const workspaces = new Leasing({
    acquiring,
    heartbeats,
    watching,
    keeper,
    leases,
    pool,
    salvages: store.salvages,
    dependencies,
    repositories,
    wake,
    secret,
    ttl,
  });
  const { sweeper } = settings;
  const sweepWork = new SweepWork({
    ...{ store: store.sweeps, forges: options.forges, limits: sweeper, intervalMs: sweeper.intervalMs },
    ...{ work, repositories, git, salvaging, keeper, places, ownership, wake, log },
    retentionMs: settings.eventRetentionMs,
  });
  const info = {
    version: options.version,
    storeId: secret.storeId,
    startTime: new Date(),
    eventRetentionMs: settings.eventRetentionMs,
    ttl,
    authentication,
    components: { node: process.versions.node, postgres: store.version, ...options.components },
  };
  const administration = new AdministrationService({
    repositories,
    hosts,
    ownership,
    registry,
    mirrors,
    salvages,
    verifying: new Verifying({ pool, repositories, hosts, keeper, wake }),
    keeper,
    sweeping: sweepWork.sweeping,
    sweeps: store.sweeps,
    events,
    usage: store.usage,
    forges: options.forges.configured,
    wake,
    info,
  });
  const { eventRetentionMs } = settings;
  const pulse = new Pulse({
    ownership,
    wake,
    granting,
    keeper,
    salvages,
    room,
    tail: watching.tail,
    leases,
    work,
    events,
    eventRetentionMs,
    log,
  });

  const forgeWork = new ForgeWork({
    ...{ webhooks: options.webhooks, store: store.deliveries, reports: sweepWork.drops },
    ...{ mirrors, ownership, log },
    warming: new Warming({ work, pool, repositories, mirrors, keeper, ownership, wake }),
  });

  await watching.tail.start();
  await wake.start();
  await ownership.start();
  if (!ownership.owner)
    log.info({ host: ownership.host.name }, "another server owns this host: serving what needs the database only");
  pulse.start();
  sweepWork.start();
  forgeWork.start();

  const settle = async () => {
    const limit = new Promise((resolve) => setTimeout(resolve, settings.drainLimitMs).unref());
    await Promise.race([Promise.all([granting.stop(), pulse.settled(), keeper.settled(), room.settled()]), limit]);
  };
  return {
    workspaces,
    administration,
    sessions: new SessionKeeping({
      store: store.sessions,
      pool,
      forges: options.forges.configured,
      maxAgeMs: sweeper.maxAgeMs,
      secret,
      wake,
    }),
    deliveries: forgeWork.deliveries,
    readiness: async () => {
      await store.ping();
      return {
        ok: true,
        detail: ownership.owner ? `owner of ${ownership.host.name}` : "serving without owning the host",
      };
    },
    drain: () => draining.abort(),
    stop: async () => {
      draining.abort();
      await Promise.all([pulse.stop(), forgeWork.stop(), sweepWork.stop()]);
      await settle();
      await ownership.stop();
      await wake.stop();
    },
  };
}
