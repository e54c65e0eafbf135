/** Owns writing git's index file (version 2, or 3 where it is needed), without extensions. */
import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import type { TreeEntry } from "../objects/git-object.js";
import { IndexFile } from "./index-file.js";

export interface WrittenEntry extends TreeEntry {
  /** Byte path. */
  readonly path: string;
  readonly stage?: number;
  /** A promise to add a file (`git add --intent-to-add`). */
  readonly intent?: boolean;
  /** Of a file that has this content; without it, git compares the content. */
  readonly stat?: Stats;
}

const longestName = 0xfff;
const flag = { extended: 0x4000, intent: 0x2000 } as const;

export function formatIndexFile(entries: readonly WrittenEntry[]): Buffer {
  const sorted = [...entries].sort((a, b) =>
    a.path < b.path ? -1 : a.path > b.path ? 1 : (a.stage ?? 0) - (b.stage ?? 0),
  );
  const header = Buffer.alloc(12);
  header.write("DIRC", "latin1");
  header.writeUInt32BE(sorted.some(({ intent }) => intent) ? 3 : 2, 4);
  header.writeUInt32BE(sorted.length, 8);
  const content = Buffer.concat([header, ...sorted.map(formatEntry)]);
  return Buffer.concat([content, createHash("sha1").update(content).digest()]);
}

function formatEntry(entry: WrittenEntry): Buffer {
  const { path, stat } = entry;
  const begin = entry.intent ? 64 : 62;
  // Names end with one to eight zeros, so that entries begin at multiples of eight.
  const bytes = Buffer.alloc((begin + path.length + 8) & ~7);
  if (stat) {
    const fields = [
      ...time(stat.ctimeMs),
      ...time(stat.mtimeMs),
      stat.dev,
      stat.ino,
      entry.mode,
      stat.uid,
      stat.gid,
      stat.size,
    ];
    for (const [index, value] of fields.entries()) bytes.writeUInt32BE(value % 2 ** 32, index * 4);
  } else bytes.writeUInt32BE(entry.mode, 24);
  bytes.write(entry.id, 40, "hex");
  const flags = ((entry.stage ?? 0) << 12) | Math.min(path.length, longestName);
  bytes.writeUInt16BE(entry.intent ? flags | flag.extended : flags, 60);
  if (entry.intent) bytes.writeUInt16BE(flag.intent, 62);
  bytes.write(path, begin, "latin1");
  return bytes;
}

/** Seconds and nanoseconds, as far as a double holds them. */
function time(ms: number): [number, number] {
  const seconds = Math.floor(ms / 1000);
  return [Math.max(seconds, 0), Math.round((ms - seconds * 1000) * 1_000_000) % 1_000_000_000];
}

/** Where an entry has what `statOf` of lfs-checkout.ts tells, in its order. */
const statOffsets = [0, 4, 8, 12, 16, 20, 28, 32, 36];

/** The same index with other stats for files, by byte path. */
export function withStats(bytes: Buffer, stats: ReadonlyMap<string, readonly bigint[]>): Buffer {
  const index = new IndexFile(bytes);
  const changed = Buffer.from(bytes);
  for (const [position, path] of index.paths.entries()) {
    const stat = stats.get(path);
    if (!stat) continue;
    const begin = index.offset(position);
    for (const [at, value] of stat.entries()) {
      changed.writeUInt32BE(Number(value & 0xffff_ffffn), begin + (statOffsets[at] as number));
    }
  }
  const end = changed.length - 20;
  createHash("sha1").update(changed.subarray(0, end)).digest().copy(changed, end);
  return changed;
}
