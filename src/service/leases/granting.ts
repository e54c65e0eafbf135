/**
 * Owns how the owner of a host serves its tickets: find the commit, take a workspace, prepare it, mint the lease.
 *
 * Invariants:
 * 1. A ticket is served by one task at a time here, and only while this process owns the host.
 * 2. No file or upstream is touched inside a transaction; every step's result is stored by compare-and-set.
 * 3. A workspace whose files failed is given to cleaning, and the ticket falls through to another one in the same call.
 */
import { asFailure, Failure, toRecord } from "../../domain/failure.js";
import type { Repository } from "../../domain/repository.js";
import type { Salvage } from "../../domain/salvage.js";
import type { CheckoutTarget } from "../../ports/git-engine.js";
import type { HostOwnership } from "../../ports/host-store.js";
import {
  type Grant,
  type Ticket,
  type TicketBoard,
  type TicketSpec,
  type Timing,
  withDependencies,
} from "../../ports/lease-store.js";
import type { Logger } from "../../ports/logger.js";
import type { RepositoryStore } from "../../ports/repository-store.js";
import type { Wake } from "../../ports/wake.js";
import type { Dependencies } from "../cleaning/dependencies.js";
import { type Salvages, salvageNotFound } from "../cleaning/salvages.js";
import type { Submodules } from "../cleaning/submodules.js";
import type { Disk } from "../disk/disk.js";
import type { Mirrors, Wanted } from "../mirrors/mirrors.js";
import type { Places } from "../places.js";
import { timed } from "../timed.js";
import { Claiming } from "./claiming.js";
import { BrokenBinding, type Granted, type Handover, NothingToRestoreTo } from "./handover.js";
import type { Seats } from "./seats.js";

export interface GrantingDependencies {
  readonly board: TicketBoard;
  readonly repositories: RepositoryStore;
  readonly mirrors: Mirrors;
  readonly submodules: Submodules;
  readonly salvages: Salvages;
  readonly handover: Handover;
  readonly dependencies: Dependencies;
  readonly disk: Disk;
  readonly places: Places;
  readonly ownership: HostOwnership;
  readonly seats: Seats;
  readonly wake: Wake;
  readonly log: Logger;
}

/** What the caller's side knows of a ticket that it has just opened, so that it need not be read again. */
export interface Foreseen {
  readonly repository: Repository;
  /** Undefined where the upstream has to be asked. */
  readonly wanted: Promise<Wanted | undefined>;
}

const attempts = 3;

export class Granting {
  readonly #deps: GrantingDependencies;
  readonly #running = new Map<bigint, Promise<void>>();
  readonly #claiming: Claiming;
  readonly #granted = new Map<bigint, Granted["key"]>();
  readonly #stopping = new AbortController();
  #polling: Promise<void> | undefined;
  #again = false;
  #tookAhead = false;

  constructor(deps: GrantingDependencies) {
    this.#deps = deps;
    this.#claiming = new Claiming(deps, this.#stopping.signal);
  }

  /** Workspaces that this process is preparing for a ticket. */
  get preparing(): readonly Granted["key"][] {
    return [...this.#granted.values()];
  }

  /** Begins to look for what a ticket of the owned host will want, while it is being opened. */
  foresee(repository: Repository, { revision, maxStalenessMs, restore }: TicketSpec): Foreseen {
    const { mirrors } = this.#deps;
    // what a salvage wants is known to the salvage only
    const wanted = restore ? Promise.resolve(undefined) : mirrors.known(repository, revision, maxStalenessMs);
    // told when the ticket is served, if it ever is
    wanted.catch(() => {});
    return { repository, wanted };
  }

  /** Whether the ticket is being served here: its outcome is then told to its seats, and need not be asked for. */
  serves(ticketId: bigint): boolean {
    return this.#running.has(ticketId);
  }

  /** Whether a workspace was taken, since this was last asked, of a repository that wants some to be idle. */
  tookAhead(): boolean {
    const took = this.#tookAhead;
    this.#tookAhead = false;
    return took;
  }

  /** Serves a ticket that was opened here, without waiting to be told of it by the store. */
  offer(ticket: Ticket, foreseen?: Foreseen): void {
    if (!this.#deps.ownership.owner || this.#stopping.signal.aborted || this.#running.has(ticket.ticketId)) return;
    const task = this.#serve(ticket, foreseen)
      .catch((error) =>
        this.#deps.log.error({ err: error, ticket: String(ticket.ticketId) }, "a ticket could not be served"),
      )
      .finally(() => this.#running.delete(ticket.ticketId));
    this.#running.set(ticket.ticketId, task);
  }

  /** Something may have become free: lets the first of each line ask. */
  wakeLines(): void {
    this.#claiming.wakeLines();
  }

  /** Looks for tickets that were opened elsewhere, or whose grant was lost. One look at a time; a call during one makes it look once more. */
  look(): Promise<void> {
    this.#again = this.#polling !== undefined;
    this.#polling ??= this.#poll().finally(() => {
      this.#polling = undefined;
    });
    return this.#polling;
  }

  async #poll(): Promise<void> {
    do {
      this.#again = false;
      if (!this.#deps.ownership.owner) return;
      for (const ticket of await this.#deps.board.pending([...this.#running.keys()])) this.offer(ticket);
    } while (this.#again);
  }

  /** Lets waiting tickets go, serves no new ones, and resolves when those that have a workspace are served. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#claiming.wakeAll();
    await Promise.all(this.#running.values());
  }

  async #serve(ticket: Ticket, foreseen: Foreseen | undefined): Promise<void> {
    const { board, seats, wake } = this.#deps;
    try {
      const grant = await this.#grant(ticket, foreseen);
      if (grant) seats.settle(ticket.ticketId, { kind: "leased", grant });
    } catch (error) {
      const failure = asFailure(error);
      if (failure.reason === "INTERNAL") this.#deps.log.error({ err: failure.cause ?? failure }, "Acquire failed");
      await board.fail(ticket.ticketId, toRecord(failure));
      seats.settle(ticket.ticketId, { kind: "failed", failure: toRecord(failure) });
    } finally {
      this.#claiming.wakeLine(ticket.repositoryId);
      wake.hint();
    }
  }

  /** Undefined: the ticket was withdrawn, or this process no longer owns the host. */
  async #grant(ticket: Ticket, foreseen: Foreseen | undefined): Promise<Grant | undefined> {
    const timings: Timing[] = [];
    const repository = foreseen?.repository ?? (await this.#deps.repositories.byId(ticket.repositoryId));
    if (!repository || repository.removing) throw new Failure("REPOSITORY_NOT_FOUND", "the repository was removed");
    let salvage = await this.#salvage(ticket, repository);
    let lostSalvageId = "";
    const { dependencies } = this.#deps;
    const { dependencies: wish } = ticket.spec;
    const [wanted, target] = await timed(timings, "resolve", async () => {
      const found = (await foreseen?.wanted) ?? (await this.#resolve(ticket, repository, salvage));
      // what is wrong with the wish is found before a workspace is taken; what comes back to its binding needs no manifests
      const isAsked = wish && wish.manifests.length > 0 && ticket.spec.binding === "";
      if (isAsked) await dependencies.find(wish, repository, found.resolved.commit);
      return [found, await this.#deps.submodules.target(repository, found.resolved)] as const;
    });
    for (let attempt = 1; ; attempt++) {
      const claimed = await this.#claiming.claim(ticket, repository, wanted, timings);
      if (!claimed) return undefined;
      if (claimed.kind === "moved") return this.#grant(ticket, undefined);
      const { granted, letGo } = claimed;
      this.#granted.set(ticket.ticketId, granted.key);
      this.#tookAhead ||= repository.minIdle > 0;
      try {
        if (granted.source === "bound" && ticket.spec.restore) throw new NothingToRestoreTo();
        if (lostSalvageId !== "") salvage ??= await this.#deps.salvages.found(lostSalvageId);
        return await this.#deliver(ticket, repository, wanted, target, granted, timings, salvage);
      } catch (error) {
        // what is left of it is salvaged, and brought back to the workspace that takes its place
        if (error instanceof BrokenBinding)
          lostSalvageId = await this.#deps.salvages.expectedOf(granted.key.workspaceId);
        const isAsParked = error instanceof NothingToRestoreTo;
        await this.#deps.board.giveBack(ticket.ticketId, granted.key, isAsParked ? "PARKED" : "CLEANING");
        if (isAsParked) throw error.failure;
        this.#deps.log.warn(
          { err: error, workspace: granted.key.workspaceId, attempt },
          "a workspace could not be prepared",
        );
        if (asFailure(error).reason === "DISK_LOW") throw this.#deps.disk.failure(ticket.repositoryId, error);
        // another workspace makes no difference to these
        const { reason, code } = asFailure(error);
        if (attempt >= attempts || reason.startsWith("SALVAGE_") || code === "INVALID_ARGUMENT") throw error;
      } finally {
        letGo();
        this.#granted.delete(ticket.ticketId);
      }
    }
  }

  /** What the ticket wants restored. It may be on another host only if it came back since the ticket was opened. */
  async #salvage(ticket: Ticket, repository: Repository): Promise<Salvage | undefined> {
    const { restore } = ticket.spec;
    if (!restore) return undefined;
    const salvage = await this.#deps.salvages.wished(restore, repository.name);
    if (salvage.host !== this.#deps.ownership.host.name) throw salvageNotFound(salvage.salvageId);
    return salvage;
  }

  async #resolve(ticket: Ticket, repository: Repository, salvage: Salvage | undefined): Promise<Wanted> {
    const { mirrors } = this.#deps;
    const { revision, maxStalenessMs } = ticket.spec;
    if (salvage?.baseCommit && revision === "") {
      try {
        return await mirrors.resolve(repository, salvage.baseCommit, maxStalenessMs);
      } catch (error) {
        if (asFailure(error).reason !== "REVISION_NOT_FOUND") throw error;
      }
    }
    return mirrors.resolve(repository, revision, maxStalenessMs);
  }

  /** Makes the workspace what was asked for, and mints the lease. */
  async #deliver(
    ticket: Ticket,
    repository: Repository,
    wanted: Wanted,
    target: CheckoutTarget,
    granted: Granted,
    timings: Timing[],
    salvage: Salvage | undefined,
  ): Promise<Grant | undefined> {
    const { board, handover, dependencies, salvages } = this.#deps;
    const { branch, dependencies: wish } = ticket.spec;
    const isChangedAfter = salvage !== undefined;
    const prepared = await handover.prepare(ticket.spec, repository, target, granted, timings, isChangedAfter);
    const { told, unwanted } = prepared;
    if (salvage) await timed(timings, "restore", () => salvages.restore(salvage, granted.path));
    const { resolved, mirror } = wanted;
    const { commit } = resolved;
    // what comes back to its binding has what it had
    const mayPlace = wish && told !== "BOUND";
    const placed =
      mayPlace && (await timed(timings, "dependencies", () => dependencies.place(wish, repository, commit, granted)));
    const grant = await board.activate({
      ticketId: ticket.ticketId,
      key: granted.key,
      commit,
      head: branch ? `refs/heads/${branch}` : resolved.head,
      refsVersion: mirror.refsVersion,
      source: told,
      timings,
      ...(mirror.fetchTime ? { fetchTime: mirror.fetchTime } : {}),
    });
    // nobody waits for it any more: it is free again, and where its files were changed, cleaned first
    if (!grant) await board.giveBack(ticket.ticketId, granted.key, placed ? "CLEANING" : unwanted);
    return grant && placed ? withDependencies(grant, placed) : grant;
  }
}
