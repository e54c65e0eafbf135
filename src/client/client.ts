/** Owns the client: its connections, its leases, and the calls it offers. */
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { createClient, type Client as RawClient } from "@connectrpc/connect";
import { AdminService } from "../../gen/leasehold/v1/admin_service_pb.js";
import { SessionService } from "../../gen/leasehold/v1/session_service_pb.js";
import {
  Disposition,
  type HeartbeatResponse,
  type ReleaseResponse,
  WorkspaceService,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type Acquired, type AcquireOptions, acquire } from "./acquire.js";
import { type Address, resolveAddress } from "./address.js";
import { asLeaseholdError, LeaseholdError } from "./error.js";
import { Lease, type ReleaseOptions } from "./lease.js";
import { persist } from "./retry.js";
import { type OpenSessionOptions, persistently, Session, type SessionCallOptions } from "./session.js";
import { timeout } from "./timeout.js";
import { type Link, openLink, type Protocol, type TlsOptions } from "./transport.js";
import { type WatchItem, type WatchOptions, watch } from "./watch.js";

export interface ConnectOptions {
  /** `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path`; `LEASEHOLD_ADDRESS` or `http://127.0.0.1:7420` without it. */
  readonly address?: string;
  /** Bearer token of a server with authentication; `LEASEHOLD_TOKEN` without it. */
  readonly token?: string;
  /** `grpc` (over HTTP/2, default) or `connect` (over HTTP/1.1). */
  readonly protocol?: Protocol;
  readonly tls?: TlsOptions;
}

export interface HoldOptions extends AcquireOptions {
  /**
   * How long past its deadline a lease that cannot be renewed, since no server answers, still counts as held,
   * in milliseconds; 0 unless given. A server that is away ends no lease, but nobody else can tell an outage
   * of the server from one of the way to it.
   */
  readonly graceMs?: number;
}

/** Names a lease and proves the right to it. */
export interface LeaseProof {
  readonly leaseId: string;
  readonly token: string;
}

export interface HeartbeatCallOptions extends LeaseProof {
  readonly ttlMs?: number;
  /** As in `ReleaseOptions`. */
  readonly dependenciesInstalled?: boolean;
  /** 10,000 unless given. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Makes a client. Connections are made when they are needed. */
export function connect(options: ConnectOptions = {}): Client {
  return new Client(options);
}

export class Client implements Disposable {
  readonly #address: Address;
  readonly #calls: Link;
  readonly #beats: Link;
  readonly #renewals: RawClient<typeof WorkspaceService>;
  readonly #leases = new Set<Lease>();
  readonly #closed = new AbortController();
  /** The generated clients, without retries; they throw `ConnectError` (see `asLeaseholdError`). */
  readonly workspaces: RawClient<typeof WorkspaceService>;
  readonly admin: RawClient<typeof AdminService>;
  /** The calls of SessionService, as they are. */
  readonly sessions: RawClient<typeof SessionService>;

  constructor(options: ConnectOptions) {
    this.#address = resolveAddress(options.address);
    const token = options.token ?? (process.env.LEASEHOLD_TOKEN || undefined);
    // Not left to the header, whose error would show the token.
    if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
      throw new TypeError("token: holds blanks, control characters or letters beyond ASCII, or is empty");
    }
    const link = () =>
      openLink({
        address: this.#address,
        protocol: options.protocol ?? "grpc",
        token,
        tls: options.tls ?? {},
      });
    this.#calls = link();
    this.#beats = link();
    this.workspaces = createClient(WorkspaceService, this.#calls.transport);
    this.admin = createClient(AdminService, this.#calls.transport);
    this.sessions = createClient(SessionService, this.#calls.transport);
    this.#renewals = createClient(WorkspaceService, this.#beats.transport);
  }

  /** Where the server is. */
  get address(): string {
    return this.#address.text;
  }

  /** Leases a workspace; the lease renews itself until it is released or lost. */
  async acquire(options: HoldOptions): Promise<Lease> {
    const { response, deadline } = await this.acquireOnly(options);
    const proof = { leaseId: response.lease?.leaseId ?? "", token: response.leaseToken };
    const lease = new Lease(response, deadline, options.graceMs ?? 0, {
      renew: (timeoutMs, ttlMs, dependenciesInstalled = false) =>
        this.#renew({ ...proof, timeoutMs, dependenciesInstalled, ...(ttlMs !== undefined && { ttlMs }) }),
      release: (releaseOptions) => this.release({ ...proof, ...releaseOptions }),
      ended: (ended) => this.#leases.delete(ended),
    });
    this.#leases.add(lease);
    if (options.signal?.aborted) {
      await lease[Symbol.asyncDispose]();
      options.signal.throwIfAborted();
    }
    return lease;
  }

  /** Leases a workspace without renewing the lease: for a holder that outlives this process. */
  acquireOnly(options: AcquireOptions): Promise<Acquired> {
    return acquire(this.workspaces, { ...options, signal: this.#open(options.signal) });
  }

  /** Renews a lease once. */
  async heartbeat(options: HeartbeatCallOptions): Promise<HeartbeatResponse> {
    const { leaseId, token, ttlMs, dependenciesInstalled = false, timeoutMs = 10_000, signal } = options;
    try {
      return await this.#renewals.heartbeat(
        {
          leaseId,
          leaseToken: token,
          dependenciesInstalled,
          ...(ttlMs !== undefined && { ttl: durationFromMs(ttlMs) }),
        },
        { timeoutMs: timeout(timeoutMs), ...(signal && { signal }) },
      );
    } catch (error) {
      throw asLeaseholdError(error);
    }
  }

  /** Ends a lease; tried again while no server answers. */
  release(options: LeaseProof & ReleaseOptions): Promise<ReleaseResponse> {
    const { leaseId, token, disposition = "CLEAN", waitForClean = false, timeoutMs = 30_000 } = options;
    const { dependenciesInstalled = false } = options;
    const signal = this.#open(options.signal);
    const deadline = performance.now() + timeoutMs;
    const attempt = () =>
      this.workspaces.release(
        { leaseId, leaseToken: token, disposition: Disposition[disposition], waitForClean, dependenciesInstalled },
        { timeoutMs: timeout(deadline - performance.now()), signal },
      );
    return persist(attempt, { signal, deadline, retryMs: timeoutMs, connectMs: timeoutMs });
  }

  /** Opens the session of a lease, or goes on with the open one of its binding. */
  async openSession(lease: Lease, options: OpenSessionOptions = {}): Promise<Session> {
    const { subject, labels = {} } = options;
    const request = {
      ...{ leaseId: lease.leaseId, leaseToken: lease.token, labels },
      ...(subject !== undefined && { subject: { url: subject } }),
    };
    const closed = this.#closed.signal;
    const answer = await persistently((call) => this.sessions.openSession(request, call), options, closed);
    if (answer.session === undefined) throw new TypeError("the server's answer holds no session");
    return new Session(answer.session, answer.reopened, { leaseToken: lease.token, lost: lease.signal, closed }, this);
  }

  /** A session that is open already, for a process beside the one that holds the lease; that one heartbeats. */
  async session(sessionId: string, leaseToken: string, options: SessionCallOptions = {}): Promise<Session> {
    const closed = this.#closed.signal;
    const answer = await persistently((call) => this.sessions.getSession({ sessionId }, call), options, closed);
    if (answer.session === undefined) throw new TypeError("the server's answer holds no session");
    return new Session(answer.session, true, { leaseToken, closed }, this);
  }

  /** Streams changes, and goes on after every break. */
  watch(options: WatchOptions = {}): AsyncIterableIterator<WatchItem> {
    return watch(this.workspaces, { ...options, signal: this.#open(options.signal) });
  }

  /** Closes the connections, for good. Calls that run fail, and leases that live are renewed no longer. */
  close(): void {
    this.#closed.abort(new LeaseholdError("the client was closed", { reason: "UNSPECIFIED", code: "CANCELLED" }));
    for (const lease of [...this.#leases]) lease.abandon();
    this.#calls.drop();
    this.#beats.drop();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Aborts with the caller's signal, and when the client is closed. */
  #open(signal: AbortSignal | undefined): AbortSignal {
    const closed = this.#closed.signal;
    return signal === undefined ? closed : AbortSignal.any([signal, closed]);
  }

  async #renew(options: HeartbeatCallOptions): Promise<number> {
    try {
      const { lease } = await this.heartbeat(options);
      return lease?.remaining === undefined ? 0 : durationMs(lease.remaining);
    } catch (error) {
      // No answer in time: the connection may be half dead, and the next renewal must not wait for it.
      if (asLeaseholdError(error).code === "DEADLINE_EXCEEDED") this.#beats.drop();
      throw error;
    }
  }
}
