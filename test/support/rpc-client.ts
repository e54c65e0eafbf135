/**
 * Owns: a raw client of the API over gRPC, without any of the retries and heartbeats of the real one,
 * and what tests read from its errors.
 */
import { type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { Code, type Client as ConnectClient, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { Health } from "../../gen/health/v1/health_pb.js";
import { AdminService } from "../../gen/leasehold/v1/admin_service_pb.js";
import { type Event, EventSchema } from "../../gen/leasehold/v1/event_pb.js";
import { SessionService } from "../../gen/leasehold/v1/session_service_pb.js";
import { type Workspace, WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import {
  type AcquireRequestSchema,
  type AcquireResponse,
  type ReleaseRequestSchema,
  type WatchRequestSchema,
  WorkspaceService,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { until } from "./until.js";

/** What a holder keeps of an Acquire's answer. */
export interface Held {
  readonly leaseId: string;
  readonly leaseToken: string;
  readonly path: string;
  readonly workspaceId: string;
  readonly fence: bigint;
  readonly answer: AcquireResponse;
}

export type AcquireFields = MessageInitShape<typeof AcquireRequestSchema> & { waitMs?: number; ttlMs?: number };

interface Link {
  readonly address: string;
  readonly session: Http2SessionManager;
  readonly workspaces: ConnectClient<typeof WorkspaceService>;
  readonly admin: ConnectClient<typeof AdminService>;
  readonly sessions: ConnectClient<typeof SessionService>;
  readonly health: ConnectClient<typeof Health>;
}

/** One connection, made again after the server was, on whatever port. */
export class Client {
  readonly #address: () => string;
  readonly #interceptors: Interceptor[];
  #link: Link | undefined;

  constructor(address: () => string, interceptors: Interceptor[] = []) {
    this.#address = address;
    this.#interceptors = interceptors;
  }

  get workspaces(): ConnectClient<typeof WorkspaceService> {
    return this.#linked().workspaces;
  }

  get admin(): ConnectClient<typeof AdminService> {
    return this.#linked().admin;
  }

  get sessions(): ConnectClient<typeof SessionService> {
    return this.#linked().sessions;
  }

  get health(): ConnectClient<typeof Health> {
    return this.#linked().health;
  }

  async acquire(fields: AcquireFields, signal?: AbortSignal, timeoutMs?: number): Promise<Held> {
    const { waitMs, ttlMs, ...rest } = fields;
    const request = {
      ...rest,
      ...(waitMs !== undefined && { wait: durationFromMs(waitMs) }),
      ...(ttlMs !== undefined && { ttl: durationFromMs(ttlMs) }),
    };
    const answer = await this.workspaces.acquire(request, {
      ...(signal && { signal }),
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
    const { lease, workspace, leaseToken } = answer;
    if (!lease || !workspace) throw new Error("an Acquire was answered without lease or workspace");
    const { leaseId, workspaceId, fence } = lease;
    return { leaseId, leaseToken, path: workspace.path, workspaceId, fence, answer };
  }

  heartbeat({ leaseId, leaseToken }: Pick<Held, "leaseId" | "leaseToken">) {
    return this.workspaces.heartbeat({ leaseId, leaseToken });
  }

  release(
    { leaseId, leaseToken }: Pick<Held, "leaseId" | "leaseToken">,
    fields: MessageInitShape<typeof ReleaseRequestSchema> = {},
  ) {
    return this.workspaces.release({ leaseId, leaseToken, ...fields });
  }

  /** Releases and waits until the workspace is clean. */
  async releaseAndClean(held: Pick<Held, "leaseId" | "leaseToken">): Promise<Workspace> {
    const { workspace } = await this.release(held, { waitForClean: true });
    if (!workspace) throw new Error("a Release was answered without workspace");
    return workspace;
  }

  async get(workspaceId: string): Promise<Workspace> {
    const { workspace } = await this.workspaces.getWorkspace({ workspaceId });
    if (!workspace) throw new Error("no workspace in the answer");
    return workspace;
  }

  /** Waits until the workspace is in one of the states. */
  whenIn(workspaceId: string, ...states: WorkspaceState[]): Promise<Workspace> {
    const names = states.map((state) => WorkspaceState[state]).join(" or ");
    return until(`${workspaceId} is ${names}`, async () => {
      const workspace = await this.get(workspaceId);
      return states.includes(workspace.state) && workspace;
    });
  }

  /** All events that there are from a revision on. */
  async events(fromRevision = 1n, filter: MessageInitShape<typeof WatchRequestSchema> = {}): Promise<Event[]> {
    const events: Event[] = [];
    for await (const { item } of this.workspaces.watch({ ...filter, fromRevision, untilNow: true })) {
      if (item.case === "event") events.push(item.value);
    }
    return events;
  }

  /** Drops the connection; the next call makes a new one. */
  close(): void {
    this.#link?.session.abort();
    this.#link = undefined;
  }

  #linked(): Link {
    const address = this.#address();
    if (this.#link?.address === address) return this.#link;
    this.close();
    const session = new Http2SessionManager(address, { pingIntervalMs: 10_000 });
    const interceptors = this.#interceptors;
    const transport = createGrpcTransport({ baseUrl: address, sessionManager: session, interceptors });
    this.#link = {
      address,
      session,
      workspaces: createClient(WorkspaceService, transport),
      admin: createClient(AdminService, transport),
      sessions: createClient(SessionService, transport),
      health: createClient(Health, transport),
    };
    return this.#link;
  }
}

/** What a caller reads from an error. */
export interface Refusal {
  readonly code: Code;
  readonly reason: string;
  readonly message: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Names of wrong fields, sorted. */
  readonly fields: readonly string[];
  readonly descriptions: readonly string[];
  /** Undefined without RetryInfo. */
  readonly retryMs: number | undefined;
}

/** How a call was refused. Fails if it was not. */
export async function refusal(call: Promise<unknown>): Promise<Refusal> {
  const answer = await call.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ("value" in answer) throw new Error("the call was answered, though it should have been refused");
  return readRefusal(answer.error);
}

export function readRefusal(thrown: unknown): Refusal {
  const error = ConnectError.from(thrown);
  const [info] = error.findDetails(ErrorInfoSchema);
  const violations = error.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  const [retry] = error.findDetails(RetryInfoSchema);
  return {
    code: error.code,
    reason: info?.domain === "leasehold" ? info.reason : "",
    message: error.rawMessage,
    metadata: info?.metadata ?? {},
    fields: violations.map(({ field }) => field).sort(),
    descriptions: violations.map(({ description }) => description),
    retryMs: retry?.retryDelay && durationMs(retry.retryDelay),
  };
}

/** Whether a caller may try again: the server was away, or said so. */
export function isPassing(thrown: unknown): boolean {
  const { code, retryMs, reason } = readRefusal(thrown);
  if (reason === "") return code !== Code.InvalidArgument;
  return retryMs !== undefined || [Code.Unavailable, Code.DeadlineExceeded, Code.Canceled].includes(code);
}

/** For messages of failed tests. */
export function shown(events: readonly Event[]): string {
  return events.map((event) => JSON.stringify(toJson(EventSchema, event))).join("\n");
}
