/**
 * Owns verifying idle workspaces because an operator asks: takes one after the other out of the pool, and waits until
 * the owner of its host has looked at it.
 *
 * Invariants:
 * 1. One workspace at a time per call, so that the pool never runs dry because of it.
 * 2. A call that is broken off leaves at most the one that is being looked at, which goes back to the pool by itself.
 * 3. Nothing is waited for that nobody does: workspaces of a host without an owner are skipped.
 */
import { Failure } from "../../domain/failure.js";
import type { Verification } from "../../domain/verification.js";
import type { Workspace } from "../../domain/workspace.js";
import type { HostStore } from "../../ports/host-store.js";
import type { WorkspacePool } from "../../ports/lease-store.js";
import type { RepositoryStore } from "../../ports/repository-store.js";
import type { Wake } from "../../ports/wake.js";
import { repositoryNotFound } from "../leases/registry.js";
import type { CallContext, VerifyInput, VerifyResult } from "../services.js";
import { workspaceChange } from "../workspace-change.js";
import type { Keeper } from "./keeper.js";

export interface VerifyingDependencies {
  readonly pool: WorkspacePool;
  readonly repositories: RepositoryStore;
  readonly hosts: HostStore;
  readonly keeper: Keeper;
  readonly wake: Wake;
}

const page = 500;

export class Verifying {
  readonly #deps: VerifyingDependencies;

  constructor(deps: VerifyingDependencies) {
    this.#deps = deps;
  }

  async verify(input: VerifyInput, call: CallContext): Promise<readonly VerifyResult[]> {
    const { repositories, hosts } = this.#deps;
    const { repository, host } = input;
    if (repository && !(await repositories.byName(repository))) throw repositoryNotFound(repository);
    if (host && !(await hosts.byName(host))) {
      throw new Failure("HOST_NOT_FOUND", `there is no host ${host}`, { metadata: { host } });
    }
    const results: VerifyResult[] = [];
    for (const id of await this.#wanted(input)) {
      if (call.signal.aborted) throw new Failure("CANCELLED", "the caller has gone");
      results.push(await this.#one(id, call));
    }
    return results;
  }

  /** Ids in their order. */
  async #wanted({ repository, host, workspaceIds }: VerifyInput): Promise<readonly string[]> {
    const { pool } = this.#deps;
    const found: string[] = [];
    for (let after = ""; ; after = found.at(-1) ?? "") {
      const filter = { ...(repository && { repository }), ...(host && { host }) };
      const { workspaces } = await pool.list(filter, after, page);
      found.push(...workspaces.map(({ id }) => id));
      if (workspaces.length < page) break;
    }
    if (workspaceIds.length === 0) return found;
    // one that is named and not there is answered as unknown; one that the filters hide is not asked for
    const named = new Set(workspaceIds);
    const hidden = repository || host ? [] : [...named].filter((id) => !found.includes(id));
    return [...found.filter((id) => named.has(id)), ...hidden];
  }

  async #one(id: string, call: CallContext): Promise<VerifyResult> {
    const { pool, keeper, wake } = this.#deps;
    const host = (await pool.get(id))?.host ?? "";
    if (!(await this.#isOwned(host))) return this.#skipped(id, "HOST_UNAVAILABLE");
    const start = await pool.beginVerification(id);
    if (start.kind !== "begun") return this.#skipped(id);
    keeper.expect("work");
    wake.hint();
    for (;;) {
      const outcome = await pool.verification(id, start.fence);
      if (outcome.kind === "known") return this.#result(id, { verification: outcome.verification });
      if (outcome.kind === "lost") return this.#skipped(id);
      if (!(await this.#isOwned(host))) return this.#skipped(id, "HOST_UNAVAILABLE");
      if (call.signal.aborted) throw new Failure("CANCELLED", "the caller has gone");
      await workspaceChange({ wake, keeper }, id, call.signal);
    }
  }

  async #isOwned(host: string): Promise<boolean> {
    return host === "" || ((await this.#deps.hosts.byName(host))?.owned ?? false);
  }

  /** Why: the state that it is in, where nothing else is given. */
  async #skipped(id: string, why?: string): Promise<VerifyResult> {
    const workspace = await this.#deps.pool.get(id);
    const isThere = workspace && workspace.state !== "RETIRED";
    return isThere
      ? { workspaceId: id, workspace, skipped: why ?? workspace.state }
      : { workspaceId: id, skipped: "WORKSPACE_NOT_FOUND" };
  }

  async #result(workspaceId: string, found: { readonly verification: Verification }): Promise<VerifyResult> {
    const workspace: Workspace | undefined = await this.#deps.pool.get(workspaceId);
    return { workspaceId, ...(workspace ? { workspace } : {}), ...found };
  }
}
