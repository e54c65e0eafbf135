/**
 * Owns how long a call is answered for: its deadline, its caller's presence, and the server's own end.
 *
 * Invariants:
 * 1. A call is answered as soon as its signal aborts, whether or not its handler minds the signal.
 * 2. Why it aborted is decided here: the deadline's time, then the server's end, else the caller has gone.
 *    The signal's own reason says something else where the client's reset overtakes the timer.
 */
import type { Interceptor, StreamRequest, UnaryRequest } from "@connectrpc/connect";
import { parseTimeout as parseConnectTimeout } from "@connectrpc/connect/protocol-connect";
import { parseTimeout as parseGrpcTimeout } from "@connectrpc/connect/protocol-grpc";
import { Failure } from "../domain/failure.js";
import { arrivalKey } from "./call.js";

/** A client's clock began earlier than ours: so much before the deadline, in milliseconds, it may already have given up. */
const toleranceMs = 20;

type Request = UnaryRequest | StreamRequest;

/** `shutdown` aborts when the server gives up on running calls. */
export function deadline(shutdown: AbortSignal): Interceptor {
  return (next) => async (request) => {
    const presence = new Presence(request.signal, () => failureOf(request, shutdown));
    try {
      const response = await presence.during(next(request));
      if (response.stream) return { ...response, message: endedWith(response.message, presence) };
      presence.forget();
      return response;
    } catch (error) {
      presence.forget();
      throw error;
    }
  };
}

/** The call's deadline in milliseconds after its arrival, undefined if it has none or one that cannot be read. */
export function timeoutOf(header: Headers): number | undefined {
  const grpc = header.get("grpc-timeout");
  const parsed =
    grpc === null
      ? parseConnectTimeout(header.get("connect-timeout-ms"), Number.MAX_SAFE_INTEGER)
      : parseGrpcTimeout(grpc, Number.MAX_SAFE_INTEGER);
  return parsed.timeoutMs;
}

function failureOf(request: Request, shutdown: AbortSignal): Failure {
  const timeoutMs = timeoutOf(request.header);
  const { time } = request.contextValues.get(arrivalKey);
  if (timeoutMs !== undefined && performance.now() - time >= timeoutMs - toleranceMs) {
    return new Failure("DEADLINE_EXCEEDED", "the call's deadline passed before there was an answer");
  }
  if (shutdown.aborted) return new Failure("DRAINING", "the server is shutting down", { retryAfterMs: 1000 });
  return new Failure("CANCELLED", "the caller has gone");
}

/** Whether anybody still waits for a call. One step of the call is raced at a time, so that a long stream costs nothing. */
class Presence {
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;
  #failure: Failure | undefined;
  #reject: ((failure: Failure) => void) | undefined;

  constructor(signal: AbortSignal, failure: () => Failure) {
    this.#signal = signal;
    this.#onAbort = () => {
      this.#failure = failure();
      this.#reject?.(this.#failure);
    };
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** What `step` gives, or the failure as soon as the signal aborts. */
  during<T>(step: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#reject = reject;
      step.then(resolve, reject);
      if (this.#failure) reject(this.#failure);
    });
  }

  forget(): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
  }
}

/** The stream, ended when the signal aborts even if its source does not mind the signal. */
function endedWith<T>(source: AsyncIterable<T>, presence: Presence): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = source[Symbol.asyncIterator]();
      const letGo = () => {
        presence.forget();
        iterator.return?.().catch(() => {});
      };
      return {
        async next() {
          try {
            const result = await presence.during(iterator.next());
            if (result.done) presence.forget();
            return result;
          } catch (error) {
            letGo();
            throw error;
          }
        },
        async return(value?: unknown) {
          letGo();
          return { done: true as const, value };
        },
        async throw(error?: unknown) {
          letGo();
          throw error;
        },
      };
    },
  };
}
