/** Owns how much free space is asked for: a share of the disk, or bytes. */

export type DiskMark =
  | { readonly kind: "percent"; readonly percent: number }
  | { readonly kind: "bytes"; readonly bytes: number };

const units: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  ...{ kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 },
  ...{ kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3, tib: 1024 ** 4 },
};

/** `10%`, `20GiB`, `500MB`, `1073741824`. Undefined for anything else, and for more than all of it. */
export function parseDiskMark(text: string): DiskMark | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*(%|[kmgt]?i?b?)$/i.exec(text.trim());
  if (!match) return undefined;
  const number = Number(match[1]);
  const unit = (match[2] ?? "").toLowerCase();
  if (unit === "%") return number <= 100 ? { kind: "percent", percent: number } : undefined;
  const scale = units[unit];
  const bytes = scale === undefined ? Number.NaN : Math.round(number * scale);
  return Number.isSafeInteger(bytes) ? { kind: "bytes", bytes } : undefined;
}

export function markBytes(mark: DiskMark, totalBytes: number): number {
  return mark.kind === "bytes" ? mark.bytes : Math.round((totalBytes * mark.percent) / 100);
}

/** Whether one is certainly above the other, whatever the disk. */
export function isAbove(mark: DiskMark, other: DiskMark): boolean {
  if (mark.kind === "percent" && other.kind === "percent") return mark.percent > other.percent;
  return mark.kind === "bytes" && other.kind === "bytes" && mark.bytes > other.bytes;
}
