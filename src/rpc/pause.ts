/** Owns waiting that any of several signals cuts short. */

/** Resolves after `ms` milliseconds, or as soon as one of the signals aborts. Leaves nothing behind. */
export function pause(ms: number, ...signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    for (const signal of signals) {
      if (signal.aborted) return end();
      signal.addEventListener("abort", end, { once: true });
    }
  });
}
