/**
 * Owns writing objects as one pack with its index (version 2).
 *
 * One pack, because objects then appear all at once, cost two syncs whatever their number, and a repository that
 * takes one pack per salvage stays quick.
 *
 * Invariants:
 * 1. Every object is hashed here: what is read back under an id has that id.
 * 2. Nothing is visible to git before `finish`'s caller puts the two files in place, the pack first.
 * 3. The same objects give a pack of the same name.
 */
import { createHash, type Hash } from "node:crypto";
import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import { type ObjectKind, objectId } from "./git-object.js";

const kindNumber: Readonly<Record<ObjectKind, number>> = { commit: 1, tree: 2, blob: 3, tag: 4 };
const headerBytes = 12;
const checksumBytes = 20;
/** Offsets from here on are in a table of their own. */
const longOffset = 0x80000000;
/** The fastest: what is saved is mostly never read. */
const compression = { level: 1 };

interface Entry {
  readonly kind: ObjectKind;
  readonly offset: number;
  /** Uncompressed. */
  readonly bytes: number;
  readonly crc: number;
}

export interface WrittenPack {
  /** Without its ending. */
  readonly name: string;
  readonly pack: string;
  readonly index: string;
}

export class PackWriter {
  /** Bytes of all objects, uncompressed. */
  bytes = 0;
  private readonly path: string;
  private readonly directory: string;
  private readonly file: number;
  private readonly entries = new Map<string, Entry>();
  private end = headerBytes;
  private closed = false;

  /** `directory`: one of its own, made here. */
  constructor(directory: string) {
    mkdirSync(directory, { recursive: true });
    this.directory = directory;
    this.path = join(directory, "new.pack");
    this.file = openSync(this.path, "w+", 0o444);
  }

  get count(): number {
    return this.entries.size;
  }

  has(id: string): boolean {
    return this.entries.has(id);
  }

  kindOf(id: string): ObjectKind | undefined {
    return this.entries.get(id)?.kind;
  }

  /** Adds an object and answers its id. */
  add(kind: ObjectKind, bytes: Uint8Array): string {
    const id = objectId(kind, bytes);
    if (this.entries.has(id)) return id;
    const entry = Buffer.concat([entryHeader(kindNumber[kind], bytes.length), deflateSync(bytes, compression)]);
    this.write(entry, this.end);
    this.entries.set(id, { kind, offset: this.end, bytes: bytes.length, crc: crc32(entry) });
    this.end += entry.length;
    this.bytes += bytes.length;
    return id;
  }

  /** Where it stands now, for `rollBack`. */
  get mark(): number {
    return this.end;
  }

  /** Takes back everything that was added since `mark`. */
  rollBack(mark: number): void {
    for (const [id, entry] of [...this.entries].reverse()) {
      if (entry.offset < mark) break;
      this.entries.delete(id);
      this.bytes -= entry.bytes;
    }
    ftruncateSync(this.file, mark);
    this.end = mark;
  }

  /** Closes and syncs it; undefined if there is no object. */
  finish(): WrittenPack | undefined {
    try {
      if (this.entries.size === 0) return undefined;
      const header = Buffer.alloc(headerBytes);
      header.write("PACK", "latin1");
      header.writeUInt32BE(2, 4);
      header.writeUInt32BE(this.entries.size, 8);
      this.write(header, 0);
      const checksum = this.digest();
      this.write(checksum, this.end);
      fsyncSync(this.file);
      const sorted = [...this.entries].sort(([a], [b]) => (a < b ? -1 : 1));
      const index = join(this.directory, "new.idx");
      writeSynced(index, formatIndex(sorted, checksum));
      const name = createHash("sha1");
      for (const [id] of sorted) name.update(id, "hex");
      return { name: `pack-${name.digest("hex")}`, pack: this.path, index };
    } finally {
      this.close();
    }
  }

  /** Closes its file, if that has not been done. */
  close(): void {
    if (!this.closed) closeSync(this.file);
    this.closed = true;
  }

  private write(bytes: Uint8Array, position: number): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.file, bytes, at, bytes.length - at, position + at);
  }

  private digest(): Buffer {
    const hash: Hash = createHash("sha1");
    const chunk = Buffer.allocUnsafe(1 << 20);
    for (let at = 0; at < this.end; ) {
      const read = readSync(this.file, chunk, 0, Math.min(chunk.length, this.end - at), at);
      if (read === 0) throw new Error("the pack was truncated");
      hash.update(chunk.subarray(0, read));
      at += read;
    }
    return hash.digest();
  }
}

function entryHeader(kind: number, size: number): Buffer {
  const bytes: number[] = [];
  let byte = (kind << 4) | (size & 15);
  for (let left = Math.floor(size / 16); left > 0; left = Math.floor(left / 128)) {
    bytes.push(byte | 0x80);
    byte = left & 0x7f;
  }
  bytes.push(byte);
  return Buffer.from(bytes);
}

/** An index of version 2. `sorted`: by id. */
export function formatIndex(
  sorted: readonly (readonly [string, Pick<Entry, "offset" | "crc">])[],
  packChecksum: Buffer,
): Buffer {
  const fanout = Buffer.alloc(256 * 4);
  const ids = Buffer.alloc(sorted.length * checksumBytes);
  const crcs = Buffer.alloc(sorted.length * 4);
  const offsets = Buffer.alloc(sorted.length * 4);
  const long: Buffer[] = [];
  const counts = new Array<number>(256).fill(0);
  sorted.forEach(([id, { offset, crc }], position) => {
    const first = Number.parseInt(id.slice(0, 2), 16);
    counts[first] = (counts[first] ?? 0) + 1;
    ids.write(id, position * checksumBytes, "hex");
    crcs.writeUInt32BE(crc, position * 4);
    offsets.writeUInt32BE(offset < longOffset ? offset : longOffset + long.length, position * 4);
    if (offset >= longOffset) {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64BE(BigInt(offset));
      long.push(bytes);
    }
  });
  let total = 0;
  counts.forEach((count, first) => {
    total += count;
    fanout.writeUInt32BE(total, first * 4);
  });
  const magic = Buffer.from([0xff, 0x74, 0x4f, 0x63, 0, 0, 0, 2]);
  const content = Buffer.concat([magic, fanout, ids, crcs, offsets, ...long, packChecksum]);
  return Buffer.concat([content, createHash("sha1").update(content).digest()]);
}

export function writeSynced(path: string, bytes: Buffer): void {
  const file = openSync(path, "w", 0o444);
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
