/**
 * Owns the running RPC server: its listen addresses, what is served on them, and how it ends.
 *
 * Invariants:
 * 1. Every listen address serves the same: gRPC, gRPC-Web, Connect, health, reflection and probes.
 * 2. Draining ends within its limit and a second, whatever peers do.
 */
import { setMaxListeners } from "node:events";
import type { ConnectRouter } from "@connectrpc/connect";
import { file_google_rpc_error_details } from "../../gen/google/rpc/error_details_pb.js";
import { Health } from "../../gen/health/v1/health_pb.js";
import { AdminService } from "../../gen/leasehold/v1/admin_service_pb.js";
import { file_leasehold_v1_error_reason } from "../../gen/leasehold/v1/error_reason_pb.js";
import { SessionService } from "../../gen/leasehold/v1/session_service_pb.js";
import { WorkspaceService } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { ListenAddress } from "../config/listen-address.js";
import { Failure } from "../domain/failure.js";
import type { Log } from "../log.js";
import type { Services } from "../service/services.js";
import { Adapter } from "./adapter.js";
import { adminService } from "./admin-service.js";
import type { Credentials } from "./authentication.js";
import type { ListenSide } from "./call.js";
import { healthService } from "./health.js";
import { allowedAddress, ListenError } from "./http/exposure.js";
import { type ConnectionLimits, defaultConnectionLimits, Listener } from "./http/listener.js";
import { probes } from "./http/probes.js";
import { type WebhookReceiver, webhooks } from "./http/webhooks.js";
import { interceptors } from "./interceptors.js";
import { type Readiness, ReadinessGauge } from "./readiness.js";
import { reflection } from "./reflection.js";
import { sessionService } from "./session-service.js";
import { watchStream, workspaceService } from "./workspace-service.js";

export interface RpcServerOptions {
  readonly listen: readonly ListenAddress[];
  readonly services: Services;
  /** Where messages of forges go; undefined: none are taken. */
  readonly webhooks?: WebhookReceiver | undefined;
  /** Where bearer tokens are looked up; undefined: no authentication. */
  readonly credentials?: Credentials | undefined;
  /** Bearer tokens may cross a network in clear text. */
  readonly allowCleartext?: boolean;
  /** Over `defaultConnectionLimits`. */
  readonly connectionLimits?: Partial<ConnectionLimits>;
  /** Largest request message in bytes; default 4 MiB. */
  readonly readMaxBytes?: number;
  readonly log: Log;
  readonly readiness: () => Promise<Readiness>;
}

export interface RpcServer {
  /** `http://HOST:PORT` or `unix:/path`, in the order of `listen`. */
  readonly addresses: readonly string[];
  /** Calls that run now. */
  readonly running: { readonly unary: number; readonly streams: number };
  /**
   * Says NOT_SERVING, takes no more connections, lets running calls finish for at most `limitMs`, ends the rest with
   * DRAINING, and closes all. Streams are ended by the service, which is told to drain before this is called.
   */
  drain(limitMs: number): Promise<void>;
}

const defaultReadMaxBytes = 4 * 1024 * 1024;
/** How long streams may take to end by themselves, and how long ended calls may take to be written; milliseconds. */
const streamGraceMs = 2000;
const lastWordsMs = 500;

/** Starts listening. Throws ListenError for an address that may not be served or cannot be bound. */
export async function startRpcServer(options: RpcServerOptions): Promise<RpcServer> {
  const { services, log, credentials } = options;
  const limits = { ...defaultConnectionLimits, ...options.connectionLimits };
  const readiness = new ReadinessGauge(options.readiness);
  const draining = new AbortController();
  const shutdown = new AbortController();
  for (const { signal } of [draining, shutdown]) setMaxListeners(0, signal);

  const routes = (router: ConnectRouter) => {
    const served = [WorkspaceService, SessionService, AdminService];
    router.service(WorkspaceService, workspaceService(services.workspaces, log));
    router.service(SessionService, sessionService(services.sessions));
    router.service(AdminService, adminService(services.administration));
    const names = served.map(({ typeName }) => typeName);
    router.service(Health, healthService(readiness, names, draining.signal));
    reflection(router, [...served, Health], [file_google_rpc_error_details, file_leasehold_v1_error_reason]);
  };
  const adapter = new Adapter({
    routes,
    envelopeStreams: [watchStream(services.workspaces)],
    interceptors: interceptors({ log, credentials, shutdown: shutdown.signal }),
    readMaxBytes: options.readMaxBytes ?? defaultReadMaxBytes,
    requestTimeoutMs: limits.requestTimeoutMs,
    shutdown: shutdown.signal,
    draining: draining.signal,
    other: options.webhooks ? webhooks(options.webhooks, log, probes(readiness)) : probes(readiness),
    log,
  });
  const bound = await bindAll(options, adapter, limits);
  const listeners = bound.map(({ listener }) => listener);

  const drain = async (limitMs: number) => {
    readiness.drain();
    draining.abort();
    for (const listener of listeners) listener.retire();
    const idling = setInterval(() => listeners.forEach((listener) => void listener.retire()), 100);
    await Promise.all([adapter.unary.whenNone(limitMs), adapter.streams.whenNone(Math.min(limitMs, streamGraceMs))]);
    shutdown.abort(new Failure("DRAINING", "the server is shutting down", { retryAfterMs: 1000 }));
    await Promise.all([adapter.unary.whenNone(lastWordsMs), adapter.streams.whenNone(lastWordsMs)]);
    await Promise.all(listeners.map((listener) => listener.whenEmpty(lastWordsMs)));
    clearInterval(idling);
    for (const listener of listeners) listener.destroy();
  };
  let drained: Promise<void> | undefined;
  return {
    addresses: bound.map(({ address }) => address),
    get running() {
      return { unary: adapter.unary.count, streams: adapter.streams.count };
    },
    drain: (limitMs) => (drained ??= drain(limitMs)),
  };
}

interface Bound {
  readonly listener: Listener;
  readonly address: string;
}

async function bindAll(options: RpcServerOptions, adapter: Adapter, limits: ConnectionLimits): Promise<Bound[]> {
  const bound: Bound[] = [];
  try {
    for (const address of options.listen) bound.push(await bind(address, options, adapter, limits));
    return bound;
  } catch (error) {
    for (const { listener } of bound) listener.destroy();
    throw error;
  }
}

async function bind(
  address: ListenAddress,
  options: RpcServerOptions,
  adapter: Adapter,
  limits: ConnectionLimits,
): Promise<Bound> {
  if (address.kind === "unix") {
    const listener = listenerOf(adapter, { transport: "unix", listenHost: "" }, limits);
    await explained(`unix:${address.path}`, listener.listenUnix(address.path));
    return { listener, address: `unix:${address.path}` };
  }
  const { host } = address;
  const exposure = {
    hasAuthentication: options.credentials !== undefined,
    allowsCleartext: options.allowCleartext === true,
  };
  const ip = await allowedAddress(host, exposure);
  const listener = listenerOf(adapter, { transport: "tcp", listenHost: host }, limits);
  const port = await explained(`${host}:${address.port}`, listener.listenTcp(ip, address.port));
  return { listener, address: `http://${host.includes(":") ? `[${host}]` : host}:${port}` };
}

function listenerOf(adapter: Adapter, side: ListenSide, limits: ConnectionLimits): Listener {
  return new Listener(adapter.handlerFor(side), limits, adapter.streamHandlerFor(side));
}

/** Says which address failed, in one line. */
async function explained<T>(address: string, binding: Promise<T>): Promise<T> {
  try {
    return await binding;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === "EADDRINUSE" ? "is in use" : code === "EACCES" ? "is not permitted" : `failed: ${message}`;
    throw new ListenError(`listen: ${address} ${reason}`, { cause: error });
  }
}
