/**
 * Owns a server that does what a test tells it to: the wire boundary of the client and the command line,
 * over real sockets and every protocol that the client speaks.
 */
import * as http from "node:http";
import * as http2 from "node:http2";
import * as net from "node:net";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { AdminService } from "../../gen/leasehold/v1/admin_service_pb.js";
import { type Lease, LeaseSchema } from "../../gen/leasehold/v1/lease_pb.js";
import { SessionService } from "../../gen/leasehold/v1/session_service_pb.js";
import { type Workspace, WorkspaceSchema, WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import {
  type AcquireResponse,
  AcquireResponseSchema,
  HeartbeatResponseSchema,
  WorkspaceService,
  WorkspaceSource,
} from "../../gen/leasehold/v1/workspace_service_pb.js";

export type Script = Partial<ServiceImpl<typeof WorkspaceService>> & {
  admin?: Partial<ServiceImpl<typeof AdminService>>;
  sessions?: Partial<ServiceImpl<typeof SessionService>>;
};

export interface ScriptedServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Closes every connection and the port, as a killed server does. */
  stop(): Promise<void>;
  /** Listens again, on the same port. */
  start(): Promise<void>;
  /** Breaks all connections, without closing the port. */
  cut(): void;
  /** Accepted connections so far. */
  connections(): number;
}

/** Serves `script` on a free port, or on a unix socket. */
export async function serveScript(script: Script, socketPath?: string): Promise<ScriptedServer> {
  const { admin, sessions, ...workspaces } = script;
  const handler = connectNodeAdapter({
    routes: (router) => {
      router.service(WorkspaceService, workspaces);
      router.service(AdminService, admin ?? {});
      router.service(SessionService, sessions ?? {});
    },
  });
  const h2 = http2.createServer(handler);
  const h1 = http.createServer(handler);
  h2.on("sessionError", () => undefined);
  const sockets = new Set<net.Socket>();
  let accepted = 0;
  const server = net.createServer((socket) => {
    accepted++;
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
    socket.once("data", (head) => {
      socket.pause();
      socket.unshift(head);
      const isHttp2 = head.toString("latin1", 0, 3) === "PRI";
      (isHttp2 ? h2 : h1).emit("connection", socket);
      if (!isHttp2) socket.resume();
    });
  });
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  let port = 0;
  const start = () =>
    new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      const listening = () => {
        const address = server.address();
        if (address !== null && typeof address === "object") port = address.port;
        server.off("error", reject);
        resolve();
      };
      socketPath === undefined ? server.listen(port, "127.0.0.1", listening) : server.listen(socketPath, listening);
    });
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      cut();
    });
  await start();
  return {
    get address() {
      return socketPath === undefined ? `http://127.0.0.1:${port}` : `unix:${socketPath}`;
    },
    get port() {
      return port;
    },
    start,
    stop,
    cut,
    connections: () => accepted,
    async [Symbol.asyncDispose]() {
      if (server.listening) await stop();
    },
  };
}

/** An error as the real server answers it. */
export function failure(
  reason: string,
  code: Code,
  more: {
    message?: string;
    metadata?: Record<string, string>;
    retryAfterMs?: number;
    fields?: [string, string][];
  } = {},
): ConnectError {
  const { metadata = {}, retryAfterMs, fields } = more;
  return new ConnectError(more.message ?? `scripted ${reason}`, code, undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: "leasehold", metadata } },
    ...(retryAfterMs === undefined
      ? []
      : [{ desc: RetryInfoSchema, value: { retryDelay: durationFromMs(retryAfterMs) } }]),
    ...(fields === undefined
      ? []
      : [
          {
            desc: BadRequestSchema,
            value: { fieldViolations: fields.map(([field, description]) => ({ field, description })) },
          },
        ]),
  ]);
}

export const draining = () => failure("DRAINING", Code.Unavailable, { retryAfterMs: 20 });
export const leaseLost = (endReason: string) =>
  failure("LEASE_LOST", Code.FailedPrecondition, { metadata: { end_reason: endReason } });

export function leaseOf(more: { ttlMs?: number; fence?: bigint; holder?: string } = {}): Lease {
  const { ttlMs = 60_000, fence = 4n, holder = "" } = more;
  return create(LeaseSchema, {
    leaseId: `w17.${fence}`,
    workspaceId: "w17",
    fence,
    repository: "demo",
    host: "here",
    revision: "main",
    commit: "c0ffee".padEnd(40, "0"),
    holder,
    remaining: durationFromMs(ttlMs),
    ttl: durationFromMs(ttlMs),
  });
}

export function workspaceOf(path: string, lease?: Lease): Workspace {
  return create(WorkspaceSchema, {
    workspaceId: "w17",
    repository: "demo",
    host: "here",
    path,
    state: lease === undefined ? WorkspaceState.IDLE : WorkspaceState.LEASED,
    version: 9n,
    fence: lease?.fence ?? 4n,
    ...(lease && { lease, commit: lease.commit }),
  });
}

export function granted(path: string, lease: Lease = leaseOf()): AcquireResponse {
  return create(AcquireResponseSchema, {
    lease,
    leaseToken: `${lease.leaseId}.secret`,
    workspace: workspaceOf(path, lease),
    resolvedCommit: lease.commit,
    source: WorkspaceSource.WARM,
    elapsed: durationFromMs(5),
    storeId: "store-a",
  });
}

export const renewed = (ttlMs = 60_000) => create(HeartbeatResponseSchema, { lease: leaseOf({ ttlMs }) });
