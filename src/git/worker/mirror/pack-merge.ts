/**
 * Owns merging the small packs of a mirror, of which every fetch makes one, into one pack: entry by entry as they are,
 * deltas included, so that nothing is compressed anew and nothing grows.
 *
 * Invariants:
 * 1. Nothing is merged that is not as it came: each pack's bytes are hashed as they are copied, and compared with what was
 *    recorded of it. What a holder has written into a linked pack is never vouched for by another checksum.
 * 2. What is merged so often grows geometrically: a large pack is copied only when as much has come beside it.
 * 3. Here nothing changes that anybody reads; pack-swap.ts puts the new pack in its place.
 * 4. Deltas stay within one pack and point backwards, as they did.
 */
import { createHash } from "node:crypto";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { MadePack } from "../../protocol.js";
import { lowerPriority } from "../files/low-priority.js";
import { removeTree } from "../files/trash.js";
import { Damaged } from "../objects/git-object.js";
import { formatIndex, writeSynced } from "../objects/pack-writer.js";
import { type Pack, packsOf, placeOf } from "./mirror-packs.js";
import { damagedObjects, recordedLook } from "./mirror-record.js";

/** Fewer packs are left alone. */
const fewPacks = 8;
/** Larger ones are, too: they are read as a whole. */
const mostPackBytes = 256 * 1024 ** 2;
const mostBytes = 1024 ** 3;
const growth = 2;
const checksumBytes = 20;
const headerBytes = 12;
const ofsDelta = 6;

/** Undefined: there is nothing to merge, or nothing that may be. */
export function mergePacks(mirror: string): MadePack | undefined {
  const place = placeOf(mirror);
  removeTree(place);
  const chosen = choose(packsOf(mirror));
  if (chosen.length < 2 || damagedObjects(mirror).length > 0) return undefined;
  lowerPriority();
  mkdirSync(place, { mode: 0o700 });
  try {
    const name = new Merge(mirror, place).run(chosen.map((pack) => pack.name));
    return { name, replaced: chosen.map((pack) => pack.name), refs: "" };
  } catch (error) {
    removeTree(place);
    // whoever looks next at the mirror makes it anew
    if (error instanceof Damaged) return undefined;
    throw error;
  }
}

/** Invariant 2. The smaller ones up to where the next is larger than all of them together. */
function choose(packs: readonly Pack[]): readonly Pack[] {
  if (packs.length < fewPacks) return [];
  let split = packs.length - 1;
  const sizeOf = (at: number): number => packs[at]?.bytes ?? 0;
  while (split > 0 && sizeOf(split) >= growth * sizeOf(split - 1)) split--;
  let sum = packs.slice(0, split + 1).reduce((total, { bytes }) => total + bytes, 0);
  while (split + 1 < packs.length && sizeOf(split + 1) < growth * sum) {
    split++;
    sum += sizeOf(split);
  }
  const chosen: Pack[] = [];
  let total = 0;
  for (const pack of packs.slice(0, split + 1)) {
    total += pack.bytes;
    if (pack.bytes > mostPackBytes || total > mostBytes) break;
    chosen.push(pack);
  }
  return chosen;
}

class Merge {
  private readonly mirror: string;
  private readonly place: string;
  private readonly file: number;
  private readonly path: string;
  private readonly written = new Map<string, { readonly offset: number; readonly crc: number }>();
  private end = headerBytes;

  constructor(mirror: string, place: string) {
    this.mirror = mirror;
    this.place = place;
    this.path = join(place, "new.pack");
    this.file = openSync(this.path, "w+", 0o444);
  }

  /** Answers the new pack's name. */
  run(names: readonly string[]): string {
    let checksum: Buffer;
    try {
      for (const name of names) this.copy(name);
      const header = Buffer.alloc(headerBytes);
      header.write("PACK", "latin1");
      header.writeUInt32BE(2, 4);
      header.writeUInt32BE(this.written.size, 8);
      this.write(header, 0);
      checksum = createHash("sha1").update(readFileSync(this.path)).digest();
      this.write(checksum, this.end);
      fsyncSync(this.file);
    } finally {
      closeSync(this.file);
    }
    const name = `pack-${checksum.toString("hex")}`;
    const sorted = [...this.written].sort(([a], [b]) => (a < b ? -1 : 1));
    writeSynced(join(this.place, `${name}.idx`), formatIndex(sorted, checksum));
    renameSync(this.path, join(this.place, `${name}.pack`));
    return name;
  }

  private copy(name: string): void {
    const pack = this.readWhole(`pack/${name}.pack`);
    const index = this.readWhole(`pack/${name}.idx`);
    const data = pack.subarray(0, -checksumBytes);
    if (!pack.subarray(-checksumBytes).equals(index.subarray(-2 * checksumBytes, -checksumBytes))) {
      throw new Damaged("an index of another pack");
    }
    const entries = readIndex(index).sort((a, b) => a.offset - b.offset);
    const places = new Map<number, number>();
    entries.forEach(({ id, crc, offset }, at) => {
      const known = this.written.get(id);
      if (known) {
        places.set(offset, known.offset);
        return;
      }
      const entry = data.subarray(offset, entries[at + 1]?.offset ?? data.length);
      if (crc32(entry) !== crc) throw new Damaged("an entry that is not what its index says");
      const moved = relocated(entry, offset, this.end, places);
      places.set(offset, this.end);
      this.written.set(id, { offset: this.end, crc: moved === entry ? crc : crc32(moved) });
      this.write(moved, this.end);
      this.end += moved.length;
    });
  }

  /** Invariant 1. */
  private readWhole(name: string): Buffer {
    const bytes = readFileSync(join(this.mirror, "objects", name));
    const checksum = bytes.subarray(-checksumBytes);
    const isSound = createHash("sha1").update(bytes.subarray(0, -checksumBytes)).digest().equals(checksum);
    const recorded = recordedLook(this.mirror, name)?.[3];
    if (!isSound || recorded !== checksum.toString("hex")) throw new Damaged(`${name} is not as it came`);
    return bytes;
  }

  private write(bytes: Uint8Array, position: number): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.file, bytes, at, bytes.length - at, position + at);
  }
}

/** The entries of an index of version 2 whose pack has no long offsets. */
function readIndex(index: Buffer): { readonly id: string; readonly crc: number; readonly offset: number }[] {
  if (index.readUInt32BE(0) !== 0xff744f63 || index.readUInt32BE(4) !== 2)
    throw new Damaged("an index of another kind");
  const ids = 8 + 256 * 4;
  const count = index.readUInt32BE(ids - 4);
  const crcs = ids + count * checksumBytes;
  const offsets = crcs + count * 4;
  return Array.from({ length: count }, (_, at) => ({
    id: index.toString("hex", ids + at * checksumBytes, ids + (at + 1) * checksumBytes),
    crc: index.readUInt32BE(crcs + at * 4),
    offset: index.readUInt32BE(offsets + at * 4),
  }));
}

/** The entry as it has to be at `to`: a delta says how far before it its base is. */
function relocated(entry: Buffer, from: number, to: number, places: ReadonlyMap<number, number>): Buffer {
  const kind = ((entry[0] ?? 0) >> 4) & 7;
  if (kind !== ofsDelta) return entry;
  let at = 0;
  while ((entry[at++] ?? 0) & 0x80);
  const head = at;
  let byte = entry[at++] ?? 0;
  let distance = byte & 0x7f;
  while (byte & 0x80) {
    byte = entry[at++] ?? 0;
    distance = (distance + 1) * 128 + (byte & 0x7f);
  }
  const base = places.get(from - distance);
  if (base === undefined || base >= to) throw new Damaged("a delta without its base");
  return Buffer.concat([entry.subarray(0, head), distanceBytes(to - base), entry.subarray(at)]);
}

function distanceBytes(distance: number): Buffer {
  const bytes = [distance & 0x7f];
  for (let left = Math.floor(distance / 128); left > 0; left = Math.floor(left / 128)) {
    left -= 1;
    bytes.unshift(0x80 | (left & 0x7f));
  }
  return Buffer.from(bytes);
}
