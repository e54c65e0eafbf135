/** Owns load: so many callers, each making its next call when the last one was answered. */

/** Calls per second over a window. */
export async function rateOf(callers: number, ms: number, call: (caller: number) => Promise<unknown>): Promise<number> {
  let calls = 0;
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
  return calls / ((performance.now() - start) / 1_000);
}
