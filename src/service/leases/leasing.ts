/**
 * Owns what holders and operators do with workspaces and leases.
 *
 * Invariants:
 * 1. A token is verified before anything is read, so that nothing can be probed without one.
 * 2. A genuine token is never answered with NOT_FOUND: its lease lives or was lost.
 * 3. A runner sees and ends its own leases only.
 */
import { limitedTo } from "../../domain/caller.js";
import { Failure } from "../../domain/failure.js";
import { grantTtl, type Lease, type LeaseKey } from "../../domain/lease.js";
import { type TokenSecret, verifyToken } from "../../domain/lease-token.js";
import type { Workspace, WorkspaceResult } from "../../domain/workspace.js";
import type { LeaseStore, ReclaimSelector, ResetSelector, WorkspacePool } from "../../ports/lease-store.js";
import type { RepositoryStore } from "../../ports/repository-store.js";
import type { SalvageStore, WorkFate } from "../../ports/salvage-store.js";
import type { Wake } from "../../ports/wake.js";
import type { Dependencies } from "../cleaning/dependencies.js";
import type { Keeper } from "../cleaning/keeper.js";
import type {
  Acquired,
  AcquireInput,
  CallContext,
  ListInput,
  Released,
  ReleaseInput,
  WatchInput,
  WatchStep,
  WorkspaceList,
  Workspaces,
} from "../services.js";
import type { Watching } from "../watching.js";
import { workspaceChange } from "../workspace-change.js";
import { type Acquiring, type AcquiringDependencies, leaseLost } from "./acquiring.js";
import type { Heartbeats } from "./heartbeats.js";
import { fieldInvalid, repositoryNotFound } from "./registry.js";

export interface LeasingDependencies {
  readonly acquiring: Acquiring;
  readonly heartbeats: Heartbeats;
  readonly watching: Watching;
  readonly keeper: Keeper;
  readonly leases: LeaseStore;
  readonly pool: WorkspacePool;
  readonly salvages: SalvageStore;
  readonly dependencies: Dependencies;
  readonly repositories: RepositoryStore;
  readonly wake: Wake;
  readonly secret: TokenSecret;
  readonly ttl: AcquiringDependencies["ttl"];
}

/** An answer takes its time on its way. */
const beforeDeadlineMs = 250;
/** A timer's limit. */
const mostWaitMs = 2 ** 31 - 1;

export class Leasing implements Workspaces {
  readonly #deps: LeasingDependencies;

  constructor(deps: LeasingDependencies) {
    this.#deps = deps;
  }

  acquire(input: AcquireInput, call: CallContext): Promise<Acquired> {
    return this.#deps.acquiring.acquire(input, call);
  }

  async heartbeat(
    id: string,
    token: string,
    ttlMs: number | undefined,
    call: CallContext,
    dependenciesInstalled = false,
  ): Promise<Lease> {
    const key = await this.#verified(id, token, call);
    const renewed = await this.#deps.heartbeats.renew({
      ...key,
      ...(ttlMs === undefined ? {} : { ttlMs: grantTtl(ttlMs, this.#deps.ttl) }),
    });
    if (renewed && dependenciesInstalled) await this.#deps.dependencies.markInstalled(key);
    if (renewed) return renewed;
    throw leaseLost((await this.#deps.leases.find(key))?.endReason ?? "", id);
  }

  async release(input: ReleaseInput, call: CallContext): Promise<Released> {
    const { leases, salvages } = this.#deps;
    const key = await this.#verified(input.leaseId, input.token, call);
    const isPark = input.disposition === "PARK";
    if (isPark) await this.#checkBound(key);
    if (input.dependenciesInstalled) await this.#deps.dependencies.markAtEnd(key);
    const reason = isPark ? "PARKED" : "RELEASED";
    const ended = await leases.end(key, reason, input.disposition);
    if (ended.kind === "unknown") throw leaseLost("", input.leaseId);
    const wasReleased = ended.reason === "RELEASED" || ended.reason === "PARKED";
    if (ended.kind === "already" && !wasReleased) throw leaseLost(ended.reason, input.leaseId);
    if (ended.kind === "ended") this.#workIsDue();
    const alreadyReleased = ended.kind === "already";
    if (ended.passedOn) {
      const fate = await salvages.fateOf(key);
      // what is not saved of it was parked, and has gone back to its binding
      const known: WorkFate = fate.kind === "pending" ? { kind: "none" } : fate;
      return { workspace: nobodys(ended.workspace), alreadyReleased, fate: known };
    }
    const left = ended.workspace;
    // its work stays where it is
    if (left.state === "PARKED") return { workspace: left, alreadyReleased, fate: { kind: "none" } };
    if (!input.waitForClean && !alreadyReleased) {
      return { workspace: left, alreadyReleased, fate: { kind: "pending" } };
    }
    const workspace = input.waitForClean ? await this.#whenClean(left, call) : left;
    return { workspace, alreadyReleased, fate: await salvages.fateOf(key) };
  }

  async list(input: ListInput, call: CallContext): Promise<WorkspaceList> {
    const caller = limitedTo(call.caller);
    const filter = caller === undefined ? input.filter : { ...input.filter, caller };
    const page = await this.#deps.pool.list(filter, input.after, input.pageSize + 1);
    return {
      workspaces: page.workspaces.slice(0, input.pageSize),
      more: page.workspaces.length > input.pageSize,
      revision: page.revision,
      storeId: this.#deps.secret.storeId,
    };
  }

  async get(workspaceId: string, call: CallContext): Promise<Workspace> {
    const { pool } = this.#deps;
    const caller = limitedTo(call.caller);
    const workspace =
      caller === undefined
        ? await pool.get(workspaceId)
        : (await pool.list({ workspaceId, caller }, "", 1)).workspaces[0];
    if (!workspace) throw workspaceNotFound(workspaceId);
    return workspace;
  }

  async reclaim(selector: ReclaimSelector): Promise<readonly WorkspaceResult[]> {
    if (selector.repository) await this.#repositoryExists(selector.repository);
    const results = await this.#deps.pool.reclaim(selector);
    if (selector.dryRun) return results;
    this.#workIsDue();
    return this.#withSalvages(results);
  }

  async reset(selector: ResetSelector): Promise<readonly WorkspaceResult[]> {
    if (selector.repository) await this.#repositoryExists(selector.repository);
    const results = await this.#deps.pool.reset(selector);
    if (selector.workspaceId && results[0]?.reason === "WORKSPACE_NOT_FOUND")
      throw workspaceNotFound(selector.workspaceId);
    this.#workIsDue();
    return this.#withSalvages(results);
  }

  watch(input: WatchInput, call: CallContext): AsyncIterable<WatchStep> {
    const caller = limitedTo(call.caller);
    const filter = caller === undefined ? input.filter : { ...input.filter, caller };
    return this.#deps.watching.watch({ ...input, filter }, call);
  }

  async #checkBound(key: LeaseKey): Promise<void> {
    const lease = await this.#deps.leases.find(key);
    if (lease && lease.binding === "") {
      throw fieldInvalid({ field: "disposition", description: "PARK needs a lease with a binding" });
    }
  }

  #workIsDue(): void {
    this.#deps.keeper.expect("work");
    this.#deps.wake.hint();
  }

  async #verified(id: string, token: string, call: CallContext): Promise<LeaseKey> {
    const key = verifyToken(token, id, this.#deps.secret);
    if (!key) throw new Failure("TOKEN_INVALID", "the lease token is not one of this lease");
    const caller = limitedTo(call.caller);
    const lease = caller === undefined ? undefined : await this.#deps.leases.find(key);
    // one that was forgotten since is lost, whoever asks
    if (lease && lease.caller !== caller) {
      throw new Failure("TOKEN_INVALID", "the lease token is not one of this caller's leases");
    }
    return key;
  }

  /**
   * Waits until the cleaning that this release began has come to something: every transition raises the version, so what
   * later holders do with the workspace is not waited for, nor told. Not longer than can be answered before the call's deadline.
   */
  async #whenClean(workspace: Workspace, call: CallContext): Promise<Workspace> {
    const left = call.timeLeftMs();
    const wait = left === undefined ? mostWaitMs : Math.max(Math.floor(left) - beforeDeadlineMs, 0);
    const enough = AbortSignal.any([call.signal, AbortSignal.timeout(Math.min(wait, mostWaitMs))]);
    let now = workspace;
    const isBeingCleaned = () => now.state === "CLEANING" && now.version === workspace.version && !now.problem;
    while (isBeingCleaned() && !enough.aborted) {
      await workspaceChange(this.#deps, workspace.id, enough);
      now = (await this.#deps.pool.get(workspace.id)) ?? now;
    }
    // after the cleaning's own end
    return now.version > workspace.version + 1n ? nobodys(now) : now;
  }

  /** With what is known already: salvaging goes on behind. */
  async #withSalvages(results: readonly WorkspaceResult[]): Promise<readonly WorkspaceResult[]> {
    const touched = results.filter(({ action }) => action !== "NONE").map(({ workspaceId }) => workspaceId);
    if (touched.length === 0) return results;
    const salvages = await this.#deps.salvages.ofCleaning(touched);
    return results.map((result) => {
      const salvage = salvages.find(({ workspaceId }) => workspaceId === result.workspaceId);
      return salvage && result.action !== "NONE" ? { ...result, salvage } : result;
    });
  }

  async #repositoryExists(name: string): Promise<void> {
    if (!(await this.#deps.repositories.byName(name))) throw repositoryNotFound(name);
  }
}

/** Without what is another's, or will be. */
function nobodys({ lease: _lease, fingerprint: _fingerprint, ...workspace }: Workspace): Workspace {
  return { ...workspace, path: "", binding: "", fence: 0n, commit: "", head: "", problem: "" };
}

function workspaceNotFound(id: string): Failure {
  return new Failure("WORKSPACE_NOT_FOUND", `there is no workspace ${id}`, { metadata: { workspace: id } });
}
