/**
 * Owns the caller's side of Acquire, on any server: open a ticket, have its outcome waited for, hand the lease over.
 *
 * Invariants:
 * 1. Whoever stops waiting, for whatever reason, leaves its seat.
 * 2. The token is derived here and is in no log, event or row.
 */
import { createHash } from "node:crypto";
import { limitedTo } from "../../domain/caller.js";
import type { DependencyWish } from "../../domain/dependencies.js";
import { asFailure, Failure, fromRecord } from "../../domain/failure.js";
import { grantTtl, leaseId, type TtlBounds } from "../../domain/lease.js";
import { mintToken, type TokenSecret } from "../../domain/lease-token.js";
import type { Repository } from "../../domain/repository.js";
import type { Forge } from "../../domain/subject.js";
import type { BindingOf, HostOwnership, HostStore } from "../../ports/host-store.js";
import type { Grant, SalvageWish, TicketDesk, TicketSpec } from "../../ports/lease-store.js";
import type { Wake } from "../../ports/wake.js";
import { type Salvages, salvageNotFound } from "../cleaning/salvages.js";
import type { Acquired, AcquireInput, CallContext } from "../services.js";
import { subjectNamed } from "../sweep/subjects.js";
import { Attending, drainingFailure } from "./attending.js";
import type { Granting } from "./granting.js";
import type { Registry } from "./registry.js";
import type { Seat, Seats } from "./seats.js";

export interface AcquiringDependencies {
  readonly desk: TicketDesk;
  readonly hosts: HostStore;
  readonly ownership: HostOwnership;
  readonly granting: Granting;
  readonly registry: Registry;
  readonly salvages: Salvages;
  readonly seats: Seats;
  readonly wake: Wake;
  readonly secret: TokenSecret;
  readonly ttl: TtlBounds;
  readonly forges: readonly Forge[];
  /** Aborts when the server begins to drain. */
  readonly draining: AbortSignal;
}

export class Acquiring {
  readonly #deps: AcquiringDependencies;
  readonly #attending: Attending;

  constructor(deps: AcquiringDependencies) {
    this.#deps = deps;
    this.#attending = new Attending(deps);
  }

  async acquire(input: AcquireInput, call: CallContext): Promise<Acquired> {
    const { desk, seats, granting, ownership, draining } = this.#deps;
    if (draining.aborted) throw drainingFailure();
    const repository = await this.#deps.registry.forAcquire(input.repository, call);
    const restore = wishOf(input, call);
    const host = await this.#host(restore ? await this.#hostOf(restore, repository, input) : input.host, repository, {
      caller: call.caller.name,
      key: input.binding,
    });
    const spec = this.#spec(input, restore, call);
    const ours = host.id === ownership.host.id && ownership.owner;
    const foreseen = ours ? granting.foresee(repository, spec) : undefined;
    const opened = await desk.open({
      caller: call.caller.name,
      requestId: input.requestId,
      digest: digestOf(repository, input, spec),
      repositoryId: repository.id,
      hostId: host.id,
      spec,
    });
    if (opened.kind === "reused") {
      throw new Failure("REQUEST_ID_REUSED", "this request id was used before, with other fields");
    }
    const { ticketId } = opened;
    const seat = seats.sit(ticketId);
    const abandon = () => this.#attending.abandon(ticketId, seat, input.requestId !== "");
    try {
      if (opened.kind === "leased") return this.#acquired(ticketId, opened.grant, seat, abandon);
      // a request that came to another host before is served there
      if (opened.hostId === ownership.host.id)
        granting.offer({ ticketId, repositoryId: repository.id, spec }, foreseen);
      else this.#deps.wake.hint();
      const outcome = await this.#attending.outcome(
        { ticketId, repository, binding: input.binding },
        seat,
        input.waitMs,
        call,
      );
      if (outcome.kind === "failed") throw fromRecord(outcome.failure);
      if (outcome.kind === "gone")
        throw new Failure("HOST_UNAVAILABLE", "the request's place was lost; ask again", { retryAfterMs: 500 });
      return this.#acquired(ticketId, outcome.grant, seat, abandon);
    } catch (error) {
      // not awaited: a caller that was refused need not wait for it; what fails is undone by time
      abandon().catch(() => {});
      throw error;
    }
  }

  /** Where the salvage is. An unknown one of a known request may have been restored before: the store finds that out. */
  async #hostOf(wish: SalvageWish, repository: Repository, input: AcquireInput): Promise<string> {
    try {
      const { host } = await this.#deps.salvages.wished(wish, repository.name);
      if (input.host === "" || input.host === "*" || input.host === host) return host;
      throw salvageNotFound(wish.salvageId);
    } catch (error) {
      if (input.requestId === "" || asFailure(error).reason !== "SALVAGE_NOT_FOUND") throw error;
      return input.host;
    }
  }

  async #host(name: string, repository: Repository, binding: BindingOf): Promise<{ id: number; name: string }> {
    const { hosts, ownership } = this.#deps;
    if (name === "" || name === ownership.host.name) {
      if (ownership.owner) return ownership.host;
      const own = await hosts.byName(ownership.host.name);
      if (own?.owned) return own;
      throw hostUnavailable(ownership.host.name);
    }
    if (name === "*") {
      const chosen = await hosts.choose(repository.id, binding);
      if (!chosen) throw hostUnavailable("*");
      return chosen;
    }
    const host = await hosts.byName(name);
    if (!host) throw new Failure("HOST_NOT_FOUND", `there is no host ${name}`, { metadata: { host: name } });
    if (!host.owned) throw hostUnavailable(name);
    return host;
  }

  #spec(input: AcquireInput, restore: SalvageWish | undefined, call: CallContext): TicketSpec {
    const { revision, holder, labels, maxStalenessMs, branch, author, binding } = input;
    const subject = input.subject === "" ? undefined : subjectNamed(input.subject, this.#deps.forges);
    const ttlMs = grantTtl(input.ttlMs, this.#deps.ttl);
    return {
      revision,
      holder,
      labels,
      ttlMs,
      maxStalenessMs,
      branch,
      mayWait: input.waitMs > 0,
      binding,
      ...(author ? { author } : {}),
      ...(subject ? { subject } : {}),
      ...(restore ? { restore } : {}),
      ...(input.dependencies ? { dependencies: { ...input.dependencies, caller: call.caller.name } } : {}),
    };
  }

  #acquired(ticketId: bigint, grant: Grant, seat: Seat, abandon: () => Promise<void>): Acquired {
    const { secret, desk } = this.#deps;
    const { lease } = grant;
    if (lease.endTime) throw leaseLost(lease.endReason ?? "", leaseId(lease));
    return {
      grant,
      token: mintToken(lease, secret),
      storeId: secret.storeId,
      delivered: () => {
        seat.served();
        // should it fail, a replay that is broken off before its answer may end the lease
        desk.delivered(ticketId).catch(() => {});
      },
      undelivered: abandon,
    };
  }
}

export function leaseLost(reason: string, id: string): Failure {
  const how = reason ? ` (${reason})` : "";
  return new Failure("LEASE_LOST", `the lease has ended${how}`, { metadata: { lease_id: id, end_reason: reason } });
}

function wishOf({ restoreSalvageId: salvageId }: AcquireInput, call: CallContext): SalvageWish | undefined {
  const caller = limitedTo(call.caller);
  return salvageId === "" ? undefined : { salvageId, ...(caller === undefined ? {} : { caller }) };
}

function hostUnavailable(name: string): Failure {
  const message = name === "*" ? "no server owns any host" : `no server owns host ${name}`;
  return new Failure("HOST_UNAVAILABLE", message, { metadata: { host: name }, retryAfterMs: 1_000 });
}

function dependencyFields({ manifests, environment, keepPaths }: DependencyWish) {
  const variables = Object.entries(environment).sort(([a], [b]) => (a < b ? -1 : 1));
  return ["dependencies", manifests, variables, keepPaths];
}

/** Over all fields but `wait` and the request id itself. */
function digestOf(repository: Repository, input: AcquireInput, spec: TicketSpec): string {
  const labels = Object.entries(spec.labels).sort(([a], [b]) => (a < b ? -1 : 1));
  const { revision, holder, ttlMs, maxStalenessMs, branch, author } = spec;
  const fields = [
    repository.id,
    input.host,
    revision,
    holder,
    ttlMs,
    maxStalenessMs,
    branch,
    author?.name,
    author?.email,
    labels,
    // absent otherwise, so that a request is the same to servers that know of no salvages
    ...(spec.restore ? [spec.restore.salvageId] : []),
    ...(spec.binding ? [{ binding: spec.binding }] : []),
    ...(spec.subject ? [{ subject: spec.subject.url }] : []),
    ...(input.dependencies ? [dependencyFields(input.dependencies)] : []),
  ];
  return createHash("sha256").update(JSON.stringify(fields)).digest("hex");
}
