/**
 * Owns what travels with a call besides its message: where it came from, who calls, and its request id.
 *
 * Invariants:
 * 1. These values are made once, where the request arrives, and handed on as connect's context values,
 *    so that interceptors and handlers do not know by which adapter a call came.
 * 2. A lost delivery is reported at most once, and never after the answer was handed to the operating system.
 */
import { type ContextValues, createContextKey, type HandlerContext } from "@connectrpc/connect";
import type { Caller } from "../domain/caller.js";
import type { CallContext } from "../service/services.js";

/** Tells whoever made an answer that it could not be written. */
export class Delivery {
  #state: "pending" | "written" | "lost" = "pending";
  readonly #listeners: (() => void)[] = [];
  readonly #writtenListeners: (() => void)[] = [];

  /** Calls back, once, if the answer cannot be written. */
  onLost(listener: () => void): void {
    if (this.#state === "lost") listener();
    else if (this.#state === "pending") this.#listeners.push(listener);
  }

  /** Calls back, once, when the answer was handed to the operating system. */
  onWritten(listener: () => void): void {
    if (this.#state === "written") listener();
    else if (this.#state === "pending") this.#writtenListeners.push(listener);
  }

  written(): void {
    if (this.#state !== "pending") return;
    this.#state = "written";
    for (const listener of this.#writtenListeners.splice(0)) listener();
  }

  lost(): void {
    if (this.#state !== "pending") return;
    this.#state = "lost";
    for (const listener of this.#listeners.splice(0)) listener();
  }
}

/** Where and when a request arrived. */
export interface Arrival {
  /** `performance.now()` when its head had been read. */
  readonly time: number;
  readonly transport: "tcp" | "unix";
  /** The host that the listen address was given as; empty on a unix socket. */
  readonly listenHost: string;
  readonly delivery: Delivery;
}

/** What is known of the listen address that a request came to. */
export type ListenSide = Pick<Arrival, "transport" | "listenHost">;

const delivered = new Delivery();
delivered.written();
const unknownArrival: Arrival = { time: 0, transport: "tcp", listenHost: "", delivery: delivered };

export const arrivalKey = createContextKey<Arrival>(unknownArrival, { description: "arrival" });
export const requestIdKey = createContextKey<string>("", { description: "request id" });
export const callerKey = createContextKey<Caller | undefined>(undefined, { description: "caller" });

/** The service's view of a call. */
export function callContext(context: HandlerContext): CallContext {
  const caller = callerOf(context.values);
  const { time } = context.values.get(arrivalKey);
  return { caller, signal: context.signal, arrival: time || performance.now(), timeLeftMs: context.timeoutMs };
}

function callerOf(values: ContextValues): Caller {
  const caller = values.get(callerKey);
  if (!caller) throw new Error("a handler was reached without authentication");
  return caller;
}
