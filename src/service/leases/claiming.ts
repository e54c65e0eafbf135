/**
 * Owns how a ticket takes a workspace: the asking, the line in which it waits, and the room that a new one takes.
 *
 * Invariants:
 * 1. Room for a new workspace is held before the store is asked, and until it is made: so many at once do not all see
 *    the same room.
 * 2. Nobody waits, or goes on waiting, once the server stops or the host is lost.
 */
import type { Repository } from "../../domain/repository.js";
import type { HostOwnership } from "../../ports/host-store.js";
import type { GrantOutcome, Ticket, TicketBoard, Timing } from "../../ports/lease-store.js";
import type { Disk, LetGo } from "../disk/disk.js";
import type { Wanted } from "../mirrors/mirrors.js";
import type { Places } from "../places.js";
import { timed } from "../timed.js";
import { type Granted, refusalOf } from "./handover.js";
import { QueueLine } from "./queue-line.js";

export interface ClaimingDependencies {
  readonly board: Pick<TicketBoard, "grant">;
  readonly disk: Pick<Disk, "hold" | "require">;
  readonly places: Pick<Places, "workspaceRoot">;
  readonly ownership: Pick<HostOwnership, "signal">;
}

export type Claimed =
  /** `letGo`: of the room that it takes, when it is made or will not be. */
  | { readonly kind: "granted"; readonly granted: Granted; readonly letGo: LetGo }
  /** The repository has another upstream now. */
  | { readonly kind: "moved" };

const nothing = () => {};

export class Claiming {
  readonly #deps: ClaimingDependencies;
  readonly #stopping: AbortSignal;
  readonly #lines = new Map<number, QueueLine>();

  constructor(deps: ClaimingDependencies, stopping: AbortSignal) {
    this.#deps = deps;
    this.#stopping = stopping;
  }

  /** Something may have become free: lets the first of each line ask. */
  wakeLines(): void {
    for (const line of this.#lines.values()) line.wakeFirst();
  }

  wakeLine(repositoryId: number): void {
    this.#lines.get(repositoryId)?.wakeFirst();
  }

  /** Lets everybody ask who waits now. */
  wakeAll(): void {
    for (const line of this.#lines.values()) while (line.length > 0) line.wakeFirst();
  }

  /** Takes a workspace, waiting in line for it if need be. Undefined: the ticket was withdrawn, or this process serves none any more. */
  async claim(ticket: Ticket, repository: Repository, wanted: Wanted, timings: Timing[]): Promise<Claimed | undefined> {
    const { disk, ownership } = this.#deps;
    const { ticketId, repositoryId } = ticket;
    const line = this.#line(repositoryId);
    const { signal } = ownership;
    const isOver = () => signal.aborted || this.#stopping.aborted;
    while (!isOver()) {
      const letGo = disk.hold(repositoryId);
      const outcome = await timed(timings, "grant", () => this.#ask(ticket, repository, wanted, letGo));
      if (outcome.kind === "granted") {
        return { kind: "granted", granted: outcome, letGo: outcome.source === "new" ? (letGo ?? nothing) : nothing };
      }
      if (outcome.kind === "gone") return undefined;
      if (outcome.kind === "moved") return { kind: "moved" };
      const refusal = refusalOf(outcome, ticket.spec.binding);
      if (refusal) throw refusal;
      if (outcome.kind === "no-room") {
        await timed(timings, "room", () => disk.require(repositoryId));
        continue;
      }
      // who was asking while the others were woken to go is not in the line that was woken
      if (isOver()) break;
      const isAside = outcome.kind !== "waiting";
      await timed(timings, "wait", () => (isAside ? line.aside(signal) : line.turn(ticketId, signal)));
    }
    return undefined;
  }

  /** Keeps the room that is held for a new workspace, and for nothing else. */
  async #ask(ticket: Ticket, repository: Repository, wanted: Wanted, letGo: LetGo | undefined): Promise<GrantOutcome> {
    const { board, places } = this.#deps;
    const { resolved, mirror } = wanted;
    let isMade = false;
    try {
      const outcome = await board.grant({
        ticketId: ticket.ticketId,
        commit: resolved.commit,
        head: resolved.head,
        refsVersion: mirror.refsVersion,
        url: repository.url,
        workspaceRoot: places.workspaceRoot,
        mayMake: letGo !== undefined,
      });
      isMade = outcome.kind === "granted" && outcome.source === "new";
      return outcome;
    } finally {
      if (!isMade) letGo?.();
    }
  }

  #line(repositoryId: number): QueueLine {
    const line = this.#lines.get(repositoryId) ?? new QueueLine();
    this.#lines.set(repositoryId, line);
    return line;
  }
}
