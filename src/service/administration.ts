/** Owns what operators do with repositories, hosts and this server. Roles are checked in `rpc/`. */
import { Failure } from "../domain/failure.js";
import { forgeOf } from "../domain/forge-event.js";
import type { RepositoryOverview, RepositorySettings } from "../domain/repository.js";
import type { Forge } from "../domain/subject.js";
import type { HostUsage } from "../domain/usage.js";
import type { EventLog } from "../ports/event-log.js";
import type { HostOwnership, HostStore } from "../ports/host-store.js";
import type { RepositoryStore } from "../ports/repository-store.js";
import type { SweepStore } from "../ports/sweep-store.js";
import type { UsageStore } from "../ports/usage-store.js";
import type { Wake } from "../ports/wake.js";
import type { Keeper } from "./cleaning/keeper.js";
import type { Salvages } from "./cleaning/salvages.js";
import type { Verifying } from "./cleaning/verifying.js";
import { fieldInvalid, type Registry, repositoryNotFound } from "./leases/registry.js";
import type { Mirrors } from "./mirrors/mirrors.js";
import type {
  Administration,
  CallContext,
  SalvageInput,
  SalvageList,
  ServerInfo,
  VerifyInput,
  VerifyResult,
} from "./services.js";
import type { Sweeping, Swept } from "./sweep/sweeping.js";

export interface AdministrationDependencies {
  readonly repositories: RepositoryStore;
  readonly hosts: HostStore;
  readonly ownership: HostOwnership;
  readonly registry: Registry;
  readonly mirrors: Mirrors;
  readonly salvages: Salvages;
  readonly verifying: Verifying;
  readonly keeper: Keeper;
  readonly sweeping: Sweeping;
  readonly sweeps: SweepStore;
  readonly events: EventLog;
  readonly usage: UsageStore;
  readonly forges: readonly Forge[];
  readonly wake: Wake;
  readonly info: Omit<ServerInfo, "host" | "owner" | "newestRevision" | "oldestRevision" | "lastSweep">;
}

/** Workspaces of one host that are told one by one. */
const mostSizes = 1_000;

export class AdministrationService implements Administration {
  readonly #deps: AdministrationDependencies;

  constructor(deps: AdministrationDependencies) {
    this.#deps = deps;
  }

  async registerRepository(name: string, settings: RepositorySettings, call: CallContext): Promise<RepositoryOverview> {
    const { registry, repositories, wake } = this.#deps;
    const url = registry.normalise(settings.url, "repository.url", call.caller);
    registry.checkCredential(settings);
    const outcome = await repositories.register(name, { ...settings, url });
    if (outcome.kind === "differs") {
      const { existing } = outcome;
      const state = existing.removing ? " and is being removed" : "";
      const metadata = { repository: existing.name, url: existing.url };
      throw new Failure("REPOSITORY_EXISTS", `repository ${existing.name} is registered with other settings${state}`, {
        metadata,
      });
    }
    const { repository } = outcome;
    // the keeper of some host makes the mirror behind the answer; what fails is stored as the problem and tried again
    this.#deps.keeper.expect("idle", "mirrors");
    wake.hint();
    return this.#overview(repository.name);
  }

  async updateRepository(
    name: string,
    changes: Partial<RepositorySettings>,
    call: CallContext,
  ): Promise<RepositoryOverview> {
    const { registry, repositories, wake } = this.#deps;
    registry.checkCredential(changes);
    const url = changes.url === undefined ? undefined : registry.normalise(changes.url, "repository.url", call.caller);
    const current = await repositories.byName(name);
    if (!current) throw repositoryNotFound(name);
    const minIdle = changes.minIdle ?? current.minIdle;
    const maxWorkspaces = changes.maxWorkspaces ?? current.maxWorkspaces;
    if (minIdle > maxWorkspaces) {
      throw fieldInvalid({
        field: "repository.min_idle",
        description: `min_idle (${minIdle}) is above max_workspaces (${maxWorkspaces})`,
      });
    }
    if (url !== undefined && url !== current.url) {
      const other = await repositories.byUrl(url);
      if (other) {
        throw new Failure("REPOSITORY_EXISTS", `repository ${other.name} has this URL`, {
          metadata: { repository: other.name, url },
        });
      }
    }
    const updated = await repositories.update(name, { ...changes, ...(url === undefined ? {} : { url }) });
    if (!updated) throw repositoryNotFound(name);
    this.#deps.keeper.expect("idle", "mirrors");
    wake.hint();
    return this.#overview(name);
  }

  async listRepositories(
    input: Parameters<Administration["listRepositories"]>[0],
  ): ReturnType<Administration["listRepositories"]> {
    const { after, pageSize, labels, name } = input;
    const found = await this.#deps.repositories.list(after, pageSize + 1, labels, name);
    const repositories = found.slice(0, pageSize).map((overview) => this.#onForge(overview));
    return { repositories, more: found.length > pageSize };
  }

  async removeRepository(name: string, force: boolean): Promise<void> {
    const outcome = await this.#deps.repositories.remove(name, force);
    if (outcome.kind === "unknown") throw repositoryNotFound(name);
    if (outcome.kind === "in-use") {
      const { leases, quarantined, salvages } = outcome;
      const counts = { leases: String(leases), quarantined: String(quarantined), salvages: String(salvages) };
      const what = `${leases} live leases, ${quarantined} quarantined workspaces and ${salvages} salvages`;
      throw new Failure("REPOSITORY_IN_USE", `${what} stand against it`, { metadata: { repository: name, ...counts } });
    }
    this.#deps.keeper.expect("work");
    this.#deps.wake.hint();
  }

  async refreshMirror(name: string): Promise<{ overview: RepositoryOverview; changed: boolean }> {
    const { repositories, ownership, mirrors } = this.#deps;
    const repository = await repositories.byName(name);
    if (!repository || repository.removing) throw repositoryNotFound(name);
    if (!ownership.owner) {
      const metadata = { host: ownership.host.name };
      throw new Failure("HOST_UNAVAILABLE", "this server does not own its host", { metadata, retryAfterMs: 1_000 });
    }
    const before = await repositories.mirror(repository.id);
    const after = await mirrors.fetch(repository);
    return { overview: await this.#overview(name), changed: before?.refsVersion !== after.refsVersion };
  }

  verifyWorkspaces(input: VerifyInput, call: CallContext): Promise<readonly VerifyResult[]> {
    return this.#deps.verifying.verify(input, call);
  }

  listSalvages(input: SalvageInput, call: CallContext): Promise<SalvageList> {
    return this.#deps.salvages.list(input, call);
  }

  async discardSalvage(salvageId: string): Promise<void> {
    await this.#deps.salvages.discard(salvageId);
    this.#deps.wake.hint();
  }

  async listHosts(input: Parameters<Administration["listHosts"]>[0]): ReturnType<Administration["listHosts"]> {
    const hosts = await this.#deps.hosts.list(input.after, input.pageSize + 1);
    return { hosts: hosts.slice(0, input.pageSize), more: hosts.length > input.pageSize };
  }

  async removeHost(name: string, force: boolean): Promise<void> {
    const outcome = await this.#deps.hosts.remove(name, force);
    const metadata = { host: name };
    if (outcome.kind === "unknown") throw new Failure("HOST_NOT_FOUND", `there is no host ${name}`, { metadata });
    if (outcome.kind === "owned") throw new Failure("HOST_IN_USE", `a server owns host ${name}`, { metadata });
    if (outcome.kind === "in-use") {
      throw new Failure("REPOSITORY_IN_USE", `${outcome.leases} leases live on host ${name}`, {
        metadata: { ...metadata, leases: String(outcome.leases) },
      });
    }
    this.#deps.wake.hint();
  }

  sweep(dryRun: boolean, call: CallContext): Promise<Swept> {
    return this.#deps.sweeping.sweep(dryRun, call);
  }

  async usage(host: string, sizes: boolean): Promise<readonly HostUsage[]> {
    const hosts = await this.#deps.usage.usage(host, sizes ? mostSizes : 0);
    if (host === "" || hosts.length > 0) return hosts;
    throw new Failure("HOST_NOT_FOUND", `there is no host ${host}`, { metadata: { host } });
  }

  async serverInfo(): Promise<ServerInfo> {
    const { info, ownership, events, sweeps } = this.#deps;
    const [bounds, last] = await Promise.all([events.publish(), sweeps.last()]);
    return {
      ...info,
      host: ownership.host.name,
      owner: ownership.owner,
      newestRevision: bounds.newest,
      oldestRevision: bounds.oldest,
      ...(last ? { lastSweep: last.report } : {}),
    };
  }

  async #overview(name: string): Promise<RepositoryOverview> {
    const [overview] = await this.#deps.repositories.list("", 1, {}, name);
    if (!overview) throw repositoryNotFound(name);
    return this.#onForge(overview);
  }

  #onForge(overview: RepositoryOverview): RepositoryOverview {
    return { ...overview, forge: forgeOf(overview.repository.url, this.#deps.forges) };
  }
}
