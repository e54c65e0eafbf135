/** Owns the calls of the API that rows make, with the defaults of the benchmark. */
import { readdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { AdminService } from "../../gen/leasehold/v1/admin_service_pb.js";
import { RepositoryState } from "../../gen/leasehold/v1/repository_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import {
  type AcquireResponse,
  Disposition,
  WorkspaceService,
  WorkspaceSource,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { RpcClient } from "./rpc-client.js";
import type { ServerProcess } from "./server-process.js";

export interface Held {
  readonly leaseId: string;
  readonly token: string;
  readonly path: string;
  readonly source: WorkspaceSource;
  /** The server's own measure, from the request's arrival to the lease. */
  readonly serverMs: number;
  /** Milliseconds by step, as the server told them. */
  readonly steps: Readonly<Record<string, number>>;
}

const ttl = durationFromMs(3_600_000);
const wait = durationFromMs(60_000);
const stale = durationFromMs(3_600_000);
const limitMs = 300_000;

export class Leaseholder {
  readonly client: RpcClient;
  readonly #server: ServerProcess;

  constructor(server: ServerProcess, channels = 1) {
    this.#server = server;
    this.client = new RpcClient(server.address, channels);
  }

  /** Registers, waits until the mirror and so many idle workspaces are there, and has no more made ahead. */
  async register(name: string, url: string, minIdle = 0): Promise<void> {
    const repository = { name, url, minIdle, maxWorkspaces: 1_000 };
    await this.client.call(AdminService.method.registerRepository, { repository });
    const end = performance.now() + limitMs;
    for (;;) {
      const { repositories } = await this.client.call(AdminService.method.listRepositories, {});
      const found = repositories.find((known) => known.name === name);
      if (found?.state === RepositoryState.READY && (found.workspaces?.idle ?? 0) >= minIdle) break;
      if (found?.state === RepositoryState.FAILED) throw new Error(`${name} could not be mirrored: ${found.problem}`);
      if (performance.now() > end) throw new Error(`${name} did not become ready`);
      await delay(50);
    }
    if (minIdle === 0) return;
    const request = { name, repository: { minIdle: 0 }, updateMask: { paths: ["min_idle"] } };
    await this.client.call(AdminService.method.updateRepository, request);
  }

  /** `fetch`: ask the upstream; otherwise the mirror is new enough. */
  async acquire(repository: string, fetch = false): Promise<Held> {
    const request = { repository, ttl, wait, ...(fetch ? {} : { maxStaleness: stale }) };
    return toHeld(await this.client.call(WorkspaceService.method.acquire, request));
  }

  /** The workspace of a binding: the one that was parked for it, if there is one. */
  async acquireBound(repository: string, binding: string, fetch = false): Promise<Held> {
    const request = { repository, binding, ttl, wait, ...(fetch ? {} : { maxStaleness: stale }) };
    return toHeld(await this.client.call(WorkspaceService.method.acquire, request));
  }

  /** Ends the lease of a binding and leaves its files as they are. */
  async park({ leaseId, token }: Held): Promise<void> {
    const request = { leaseId, leaseToken: token, disposition: Disposition.PARK };
    await this.client.call(WorkspaceService.method.release, request);
  }

  /** Waits until the workspace is clean again; it may have been leased anew since. Fails if it could not be cleaned. */
  async release(held: Held): Promise<void> {
    const { leaseId, token } = held;
    const request = { leaseId, leaseToken: token, waitForClean: true };
    const { workspace } = await this.client.call(WorkspaceService.method.release, request);
    const { state, problem } = workspace ?? { state: WorkspaceState.UNSPECIFIED, problem: "" };
    const clean = [WorkspaceState.IDLE, WorkspaceState.PREPARING, WorkspaceState.LEASED].includes(state);
    if (!clean || problem) throw new Error(`a released workspace is ${WorkspaceState[state]}: ${problem}`);
  }

  /** Gives the workspace up for good, and waits until its files have gone. */
  async discard(held: Held): Promise<void> {
    const { leaseId, token } = held;
    const disposition = Disposition.DISCARD;
    await this.client.call(WorkspaceService.method.release, {
      leaseId,
      leaseToken: token,
      disposition,
      waitForClean: true,
    });
    while ((await readdir(this.#server.trash).catch(() => [])).length > 0) await delay(20);
  }

  close(): void {
    this.client.close();
  }
}

function toHeld(answer: AcquireResponse): Held {
  const { lease, workspace, elapsed } = answer;
  if (!lease || !workspace || !elapsed) throw new Error("an answer to Acquire is not whole");
  return {
    leaseId: lease.leaseId,
    token: answer.leaseToken,
    path: workspace.path,
    source: answer.source,
    serverMs: durationMs(elapsed),
    steps: Object.fromEntries(
      answer.timings.map(({ step, duration }) => [step, duration ? durationMs(duration) : Number.NaN]),
    ),
  };
}

export function expectSource(held: Held, source: WorkspaceSource): void {
  if (held.source !== source) {
    throw new Error(`a workspace came as ${WorkspaceSource[held.source]} instead of ${WorkspaceSource[source]}`);
  }
}
