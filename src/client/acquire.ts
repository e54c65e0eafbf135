/**
 * Owns the Acquire call: what is asked, and how it is repeated until there is an answer.
 *
 * Invariants:
 * 1. All attempts of one acquire carry one request id, so that they get one lease.
 */
import { randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import type { Client as RawClient } from "@connectrpc/connect";
import {
  type AcquireRequest,
  AcquireRequestSchema,
  type AcquireResponse,
  type WorkspaceService,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { LeaseholdError } from "./error.js";
import { persist } from "./retry.js";
import { timeout } from "./timeout.js";

export interface AcquireOptions {
  /** A registered name, or a URL where the server allows that URL. */
  readonly repository: string;
  /** A branch, tag, full ref or commit; without it, the default branch. */
  readonly revision?: string;
  /** A host's name, or `*` for any; without it, the one of the answering server. */
  readonly host?: string;
  /** Free text that says who works there. */
  readonly holder?: string;
  /** How long the lease lives without a heartbeat; 60,000 unless given, clamped by the server. */
  readonly ttlMs?: number;
  /** How long to wait in the queue if all workspaces are in use; without it, not at all. */
  readonly waitMs?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Accept a mirror that asked the upstream at most this long ago; without it, it is asked now. */
  readonly maxStalenessMs?: number;
  /** Create and check out this local branch. */
  readonly branch?: string;
  /** Written into the workspace's git configuration. */
  readonly author?: { readonly name: string; readonly email: string };
  /** Bring this salvage of the repository back to the workspace: files, index, branches and stashes. Not with `branch`. */
  readonly restoreSalvageId?: string;
  /** A key of yours that brings you back to the same workspace: what was parked under it comes back as it was left. */
  readonly binding?: string;
  /** URL of the issue or pull request that it is for, on a forge that the server knows. */
  readonly subject?: string;
  /** Files of the commit that say what is to be installed: paths, globs, or `auto`. Without them, the answer says nothing of dependencies. */
  readonly dependencyManifests?: readonly string[];
  /** What else the dependencies depend on; goes into the fingerprint. Not for secrets. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Ignored paths that are to survive between leases that ask for the same, such as `node_modules`. */
  readonly keepPaths?: readonly string[];
  /** Unique per intended lease; without it, a random one. Give one to get the same lease again after your own restart. */
  readonly requestId?: string;
  /** Gives up acquiring. Says nothing of the lease once there is one. */
  readonly signal?: AbortSignal;
  /** How long all attempts together may take; without it, as long as it takes. */
  readonly timeoutMs?: number;
  /** How long to go on trying while connections break or servers restart; 60,000 unless given. */
  readonly retryMs?: number;
  /** The same until a server was reached for the first time; `retryMs` unless given. */
  readonly connectMs?: number;
  /** Told of each failure that is tried again. */
  readonly onRetry?: (error: LeaseholdError, pauseMs: number) => void;
}

export interface Acquired {
  readonly response: AcquireResponse;
  /** `performance.now()` until which the lease is certain. */
  readonly deadline: number;
}

const defaultRetryMs = 60_000;

export async function acquire(service: RawClient<typeof WorkspaceService>, options: AcquireOptions): Promise<Acquired> {
  const request = requestOf(options);
  const { signal, timeoutMs, retryMs = defaultRetryMs, connectMs = retryMs, onRetry } = options;
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const attempt = async () => {
    const sentAt = performance.now();
    const response = await service.acquire(request, {
      ...(signal && { signal }),
      ...(deadline !== undefined && { timeoutMs: timeout(deadline - sentAt) }),
    });
    return { response, deadline: sentAt + milliseconds(response.elapsed) + milliseconds(response.lease?.remaining) };
  };
  return persist(attempt, { signal, deadline, retryMs, connectMs, onRetry });
}

function requestOf(options: AcquireOptions): AcquireRequest {
  const { repository, revision = "", host = "", holder = "", labels = {}, branch = "", author } = options;
  const { restoreSalvageId = "", binding = "", dependencyManifests = [], environment = {}, keepPaths = [] } = options;
  const request = create(AcquireRequestSchema, {
    requestId: options.requestId ?? randomUUID(),
    repository,
    revision,
    host,
    holder,
    labels,
    branch,
    restoreSalvageId,
    binding,
    dependencyManifests: [...dependencyManifests],
    environment,
    keepPaths: [...keepPaths],
    ...(options.ttlMs !== undefined && { ttl: durationFromMs(options.ttlMs) }),
    ...(options.waitMs !== undefined && { wait: durationFromMs(options.waitMs) }),
    ...(options.maxStalenessMs !== undefined && { maxStaleness: durationFromMs(options.maxStalenessMs) }),
    ...(author && { author }),
    ...(options.subject && { subject: { url: options.subject } }),
  });
  // What cannot be written at all is the caller's fault and is not tried again.
  toBinary(AcquireRequestSchema, request);
  return request;
}

function milliseconds(duration: Parameters<typeof durationMs>[0] | undefined): number {
  return duration === undefined ? 0 : durationMs(duration);
}
