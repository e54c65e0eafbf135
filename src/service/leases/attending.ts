/**
 * Owns attending a ticket for its callers: waiting for its outcome, and what becomes of it when they go.
 *
 * Invariants:
 * 1. The last of a ticket's callers here that goes gives its place up (kept for 30 s with a request id). Nothing that it had
 *    asked before makes the ticket attended again afterwards.
 * 2. A lease whose answer reaches nobody is released: at once, or with a request id if no replay comes soon.
 *    One whose answer reached somebody is not, whatever becomes of replays.
 * 3. A call is not held for longer than its wait, and the time that making a place for it may take.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../../domain/failure.js";
import type { Repository } from "../../domain/repository.js";
import type { TicketDesk, TicketOutcome } from "../../ports/lease-store.js";
import type { Wake } from "../../ports/wake.js";
import type { CallContext } from "../services.js";
import type { Granting } from "./granting.js";
import { bindingInUse } from "./handover.js";
import { poolExhausted } from "./queue-line.js";
import type { Registry } from "./registry.js";
import type { Seat, Seats, Settled } from "./seats.js";

export interface AttendingDependencies {
  readonly desk: Pick<TicketDesk, "read" | "leave" | "position" | "endUndelivered">;
  readonly granting: Pick<Granting, "serves">;
  readonly registry: Pick<Registry, "unfinishedMirror">;
  readonly seats: Seats;
  readonly wake: Wake;
  /** Aborts when the server begins to drain. */
  readonly draining: AbortSignal;
}

export interface Attended {
  readonly ticketId: bigint;
  readonly repository: Repository;
  readonly binding: string;
}

const maxWaitMs = 24 * 3600_000;
/** A wait ends this long before the call's own deadline, so that the caller learns its position. */
const beforeDeadlineMs = 250;
const lookEveryMs = 1_000;
/** How long a lease that nobody was told of waits for a replay of its request. */
const replayGraceMs = 5_000;
/** What is given up for a ticket is salvaged and cleaned first: for so long it is held beyond its wait. */
const makingMs = 30_000;

type Pending = Extract<TicketOutcome, { kind: "pending" }>;

export class Attending {
  readonly #deps: AttendingDependencies;

  constructor(deps: AttendingDependencies) {
    this.#deps = deps;
  }

  /** Waits until the ticket is settled, the wait has run out, the caller has gone, or the server drains. */
  outcome(attended: Attended, seat: Seat, waitMs: number, call: CallContext): Promise<Settled> {
    const { ticketId, repository } = attended;
    const { draining, wake, desk, seats, granting, registry } = this.#deps;
    const left = call.timeLeftMs();
    const mostMs = left === undefined ? maxWaitMs : Math.max(left - beforeDeadlineMs, 0);
    const wait = Math.min(waitMs, maxWaitMs, mostMs);
    return new Promise<Settled>((resolve, reject) => {
      let over = waitMs === 0;
      let makingIsOver = false;
      let looking = false;
      const undo: (() => void)[] = [];
      const finish = (end: () => void) => {
        for (const step of undo.splice(0)) step();
        end();
      };
      const judge = async (outcome: Pending) => {
        const { state, awaits } = outcome;
        if (state === "WAITING" && draining.aborted) finish(() => reject(drainingFailure()));
        else if (state === "WAITING" && over) await giveUp();
        else if (state === "OPEN" && makingIsOver && awaits === "binding") await giveUp(bindingInUse(attended.binding));
        else if (state === "OPEN" && makingIsOver && awaits === "place") await giveUp();
        else if (state === "OPEN" && over && waitMs > 0) {
          const unfinished = await registry.unfinishedMirror(repository);
          if (unfinished) await giveUp(unfinished);
        }
      };
      const look = async () => {
        if (looking) return;
        looking = true;
        try {
          const outcome = await seat.during(desk.read(ticketId));
          if (outcome.kind === "pending") await judge(outcome);
          else seats.settle(ticketId, outcome);
        } catch {
          // the database is away: asked again in a second
        } finally {
          looking = false;
        }
      };
      const giveUp = async (why?: Failure) => {
        // others with the same request may wait longer: then only this call ends
        const alone = seat.alone ? await desk.leave(ticketId, true) : undefined;
        // one that has come to something meanwhile is told of by the next look
        if (alone?.gone === false) return;
        const position = alone?.position ?? (await desk.position(ticketId));
        finish(() => reject(why ?? poolExhausted(Math.max(position, 1))));
      };
      const gone = () => finish(() => reject(goneFailure(call)));
      const after = (ms: number, action: () => void) => {
        const timer = setTimeout(() => {
          action();
          void look();
        }, ms);
        undo.push(() => clearTimeout(timer));
      };
      undo.push(seat.onOutcome((outcome) => finish(() => resolve(outcome))));
      undo.push(wake.onHint(() => granting.serves(ticketId) || void look()));
      const every = setInterval(() => void look(), lookEveryMs);
      undo.push(() => clearInterval(every));
      after(wait, () => (over = true));
      after(Math.min(wait + makingMs, mostMs), () => (makingIsOver = true));
      const onDrain = () => void look();
      draining.addEventListener("abort", onDrain);
      call.signal.addEventListener("abort", gone);
      undo.push(() => draining.removeEventListener("abort", onDrain));
      undo.push(() => call.signal.removeEventListener("abort", gone));
      if (call.signal.aborted) gone();
    });
  }

  /** A call ends without its answer. What was made for it alone is given up: its place, or a lease that nobody was told of. */
  async abandon(ticketId: bigint, seat: Seat, mayReplay: boolean): Promise<void> {
    const { desk, seats, wake } = this.#deps;
    if (!seat.leave()) return;
    // one that reads makes the ticket attended where nobody is seen to
    await seat.readings();
    const { gone } = await desk.leave(ticketId, false);
    if (gone) return;
    if (mayReplay) await sleep(replayGraceMs, undefined, { ref: false });
    if (seats.has(ticketId)) return;
    if (await desk.endUndelivered(ticketId)) wake.hint();
  }
}

export function drainingFailure(): Failure {
  return new Failure("DRAINING", "the server is shutting down", { retryAfterMs: 1_000 });
}

function goneFailure(call: CallContext): Failure {
  const left = call.timeLeftMs();
  return left !== undefined && left <= 0
    ? new Failure("DEADLINE_EXCEEDED", "the call's deadline has passed")
    : new Failure("CANCELLED", "the caller has gone");
}
