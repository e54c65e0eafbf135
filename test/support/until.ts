/** Owns: waiting for a condition, never for a time. */
import { setTimeout as sleep } from "node:timers/promises";

/** Resolves with what `condition` answers once that is neither false nor undefined; fails after `limitMs`. */
export async function until<T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  limitMs = 20_000,
): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    const answer = await condition();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain until ${what}`);
    await sleep(20);
  }
}

/** Resolves with a number that stays the same for `looks` looks, 100 ms apart: one that only looks so once is not still. */
export async function untilStill(what: string, read: () => number, looks = 10): Promise<number> {
  let before = Number.NaN;
  let same = 0;
  return until(what, async () => {
    const now = read();
    same = now === before ? same + 1 : 0;
    before = now;
    await sleep(80);
    return same >= looks && now;
  });
}
