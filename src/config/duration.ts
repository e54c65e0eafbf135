/** Owns how durations are written in configuration: `500ms`, `10s`, `6h`, `1h30m`, `7d`. */

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds, or undefined if the text is no duration. A number without a unit is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d{1,9}(ms|s|m|h|d))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g))
    sum += Number(count) * (unitMs[unit as string] ?? 0);
  return Number.isSafeInteger(sum) ? sum : undefined;
}
