/**
 * Owns whose turn it is on a mirror: work on one mirror runs one after another, in the order it was asked for.
 *
 * Invariant: waiting ends by the caller's deadline too; who gave up waiting has no turn any more.
 */
import { CallError } from "./worker-pool.js";

export class MirrorTurns {
  private readonly last = new Map<string, Promise<unknown>>();

  /** `work` gets the milliseconds that are left. */
  async take<T>(
    mirror: string,
    deadlineMs: number,
    signal: AbortSignal | undefined,
    work: (leftMs: number) => Promise<T>,
  ): Promise<T> {
    const begin = performance.now();
    const before = this.last.get(mirror) ?? Promise.resolve();
    let givenUp: CallError | undefined;
    let stopWaiting = (): void => {};
    const gaveUp = new Promise<never>((_, reject) => {
      const giveUp = (kind: "timeout" | "aborted"): void => {
        givenUp = new CallError(kind, "gave up waiting for another fetch");
        reject(givenUp);
      };
      const timer = setTimeout(giveUp, deadlineMs, "timeout");
      const onAbort = (): void => giveUp("aborted");
      signal?.addEventListener("abort", onAbort, { once: true });
      stopWaiting = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
    });
    const turn = (): Promise<T> => {
      stopWaiting();
      return givenUp ? Promise.reject(givenUp) : work(Math.max(deadlineMs - (performance.now() - begin), 1));
    };
    const mine = before.then(turn, turn);
    this.last.set(mirror, mine);
    const forget = (): void => {
      if (this.last.get(mirror) === mine) this.last.delete(mirror);
    };
    mine.then(forget, forget);
    return Promise.race([mine, gaveUp]);
  }
}
