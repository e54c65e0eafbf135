/**
 * Owns a lease as its holder has it.
 *
 * Invariants:
 * 1. From its birth until it is released or lost, it renews itself.
 * 2. `signal` fires once, when the lease is lost, and never because its holder released it.
 */
import type { Workspace } from "../../gen/leasehold/v1/workspace_pb.js";
import {
  type AcquireResponse,
  DependencyState,
  type ReleaseResponse,
  WorkspaceSource,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { LeaseLostError } from "./error.js";
import { Heartbeat } from "./heartbeat.js";

export interface ReleaseOptions {
  /**
   * CLEAN (default): the workspace is cleaned and leased again. DISCARD: its directory is removed. PARK: it stays as it
   * is for the next acquire with the lease's binding.
   */
  readonly disposition?: "CLEAN" | "DISCARD" | "PARK";
  /** Answer only when the workspace is clean, or its cleaning has failed. */
  readonly waitForClean?: boolean;
  /** The dependencies are installed as the commit's manifests say: the paths to keep are kept. */
  readonly dependenciesInstalled?: boolean;
  /** How long all attempts together may take; 30,000 unless given. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface LeaseHeartbeatOptions {
  readonly ttlMs?: number;
  readonly dependenciesInstalled?: boolean;
  readonly timeoutMs?: number;
}

/** What is there of a workspace's dependencies. */
export interface LeaseDependencies {
  /** Over manifests, platform and `environment`, in hexadecimal digits. */
  readonly fingerprint: string;
  /** READY: nothing needs to be installed. MISSING, CHANGED: it does; CHANGED: there was something for another fingerprint. */
  readonly state: keyof typeof DependencyState;
  readonly changedManifests: readonly string[];
  /** A directory, on `host`, for an installer's own cache. */
  readonly cachePath: string;
}

function dependenciesOf({ dependencies }: AcquireResponse): LeaseDependencies | undefined {
  if (dependencies === undefined) return undefined;
  const { fingerprint, changedManifests, cachePath } = dependencies;
  const state = (DependencyState[dependencies.state] ?? "UNSPECIFIED") as keyof typeof DependencyState;
  return { fingerprint, state, changedManifests, cachePath };
}

/** What a lease needs of the client that made it. */
export interface LeaseCalls {
  /** Renews; answers what remains, in milliseconds. */
  readonly renew: (timeoutMs: number, ttlMs?: number, dependenciesInstalled?: boolean) => Promise<number>;
  readonly release: (options: ReleaseOptions) => Promise<ReleaseResponse>;
  /** The lease needs the client no longer. */
  readonly ended: (lease: Lease) => void;
}

export class Lease implements AsyncDisposable {
  /** Name of the lease; public. */
  readonly leaseId: string;
  /** Proves the right to the lease; secret. */
  readonly token: string;
  /** Rises at every change of owner of the workspace. */
  readonly fence: bigint;
  /** Absolute path of the working directory, on `host`. */
  readonly path: string;
  /** Host on which the directory is. */
  readonly host: string;
  /** Full id of the commit that was checked out; empty for a repository without commits. Of a workspace that came back to its binding: once, when it was made. */
  readonly commit: string;
  readonly workspace: Workspace;
  /** Where the workspace came from. */
  readonly source: keyof typeof WorkspaceSource;
  /** What is there of the dependencies; undefined where no manifests were given. */
  readonly dependencies: LeaseDependencies | undefined;
  /** The server's whole answer. */
  readonly response: AcquireResponse;
  readonly #calls: LeaseCalls;
  readonly #heartbeat: Heartbeat;
  readonly #lost = new AbortController();
  #releasing: Promise<ReleaseResponse> | undefined;

  constructor(response: AcquireResponse, deadline: number, graceMs: number, calls: LeaseCalls) {
    const { lease, workspace } = response;
    if (lease === undefined || workspace === undefined) throw new TypeError("the server's answer holds no lease");
    this.leaseId = lease.leaseId;
    this.token = response.leaseToken;
    this.fence = lease.fence;
    this.path = workspace.path;
    this.host = workspace.host;
    this.commit = lease.commit;
    this.workspace = workspace;
    this.source = (WorkspaceSource[response.source] ?? "UNSPECIFIED") as keyof typeof WorkspaceSource;
    this.dependencies = dependenciesOf(response);
    this.response = response;
    this.#calls = calls;
    this.#heartbeat = new Heartbeat({
      renew: calls.renew,
      deadline,
      graceMs,
      onLost: (error) => {
        this.#lost.abort(error);
        calls.ended(this);
      },
    });
  }

  /** Aborts when the lease is lost, with a `LeaseLostError` as its reason. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** For how many milliseconds the lease is certain without another renewal; 0 once it is lost. */
  get remainingMs(): number {
    return this.signal.aborted ? 0 : Math.max(0, this.#heartbeat.deadline - performance.now());
  }

  /**
   * Renews now, besides the renewals that happen by themselves; `ttlMs` is kept by those that follow.
   * `dependenciesInstalled`: as in `ReleaseOptions`, also if the lease then expires.
   * A lease that turns out to be lost is lost at once: `signal` has fired when this throws.
   */
  async heartbeat(options: LeaseHeartbeatOptions = {}): Promise<void> {
    this.signal.throwIfAborted();
    const sentAt = performance.now();
    const { timeoutMs = 10_000, ttlMs, dependenciesInstalled } = options;
    try {
      this.#heartbeat.confirm(sentAt, await this.#calls.renew(timeoutMs, ttlMs, dependenciesInstalled));
    } catch (error) {
      this.#heartbeat.refuse(error);
      this.signal.throwIfAborted();
      if (ttlMs !== undefined) this.#heartbeat.doubt(sentAt, ttlMs, error);
      throw error;
    }
  }

  /**
   * Gives the workspace back. Called again, it answers the same; after a failure it tries again.
   * A lease that was lost meanwhile is a `LeaseLostError`.
   */
  release(options: ReleaseOptions = {}): Promise<ReleaseResponse> {
    this.#releasing ??= this.#release(options).catch((error: unknown) => {
      this.#releasing = undefined;
      throw error;
    });
    return this.#releasing;
  }

  async #release(options: ReleaseOptions): Promise<ReleaseResponse> {
    const lost: unknown = this.signal.reason;
    if (lost instanceof LeaseLostError && lost.confirmed) throw lost;
    this.abandon();
    return await this.#calls.release(options);
  }

  /** Lets the process end although the lease lives; it then expires by itself. */
  unref(): this {
    this.#heartbeat.setReferenced(false);
    return this;
  }

  /** Undoes `unref`. */
  ref(): this {
    this.#heartbeat.setReferenced(true);
    return this;
  }

  /** Stops renewing, without a word to the server: for a lease that another process goes on with. */
  abandon(): void {
    this.#heartbeat.stop();
    this.#calls.ended(this);
  }

  /** Releases. That the lease is lost already is no error here, and not waited for: `signal` has told. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.release(this.signal.aborted ? { timeoutMs: 2_000 } : {});
    } catch (error) {
      if (!(error instanceof LeaseLostError) && !this.signal.aborted) throw error;
    }
  }
}
