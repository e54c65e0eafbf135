/** Owns load: so many callers, each making its next call when the last one was answered. */
import { processorMs } from "./process-cost.js";

export interface Load {
  readonly callsPerSecond: number;
  /** Processor time of the server's process, in milliseconds for each call. */
  readonly processorMs: number;
}

/** Loads the server whose process is `pid` for a while. */
export async function load(
  pid: number,
  callers: number,
  ms: number,
  call: (caller: number) => Promise<unknown>,
): Promise<Load> {
  let calls = 0;
  const spent = await processorMs(pid);
  const start = performance.now();
  const end = start + ms;
  await Promise.all(
    Array.from({ length: callers }, async (_, caller) => {
      while (performance.now() < end) {
        await call(caller);
        calls++;
      }
    }),
  );
  const seconds = (performance.now() - start) / 1_000;
  return { callsPerSecond: calls / seconds, processorMs: ((await processorMs(pid)) - spent) / calls };
}
