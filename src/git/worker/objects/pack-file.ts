/**
 * Owns reading one pack and its index (version 2) as untrusted data.
 *
 * Here and not by libgit2: bytes that a holder wrote are not given to a parser that could be made to write or read
 * where it should not, and every size is checked before memory is taken.
 *
 * Invariants:
 * 1. Whatever the bytes are, the answer is an entry, `undefined` or `Damaged`; no more than `mostBytes` are inflated.
 * 2. An object's id is not checked here (object-store.ts does).
 */
import { closeSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { type Inside, type OpenFile, readAt } from "../files/inside.js";
import { Damaged, type ObjectKind } from "./git-object.js";

const idBytes = 20;
const headerBytes = 8;
const fanoutBytes = 256 * 4;
/** From this many comparisons on, ids are kept in memory, if there are not more than `mostKept`. */
const fewSearches = 500;
const mostKept = 2_000_000;
const tableAt = headerBytes + fanoutBytes;
const kinds: readonly (ObjectKind | undefined)[] = [undefined, "commit", "tree", "blob", "tag"];
/** So few are read at once rather than one by one: a call of the system costs more than their bytes. */
const idsAtOnce = 256;
/** Bytes that are tried to be inflated before more is read. */
const firstInput = 16 * 1024 * 1024;
/** How many bytes deflate can make of one. */
const mostInflated = 1032;
const ofsDelta = 6;
const refDelta = 7;

/** An object that is larger than the reader takes. */
export class Gigantic extends Error {
  override readonly name = "Gigantic";
}

export type PackEntry =
  | { readonly kind: ObjectKind; readonly bytes: Buffer }
  /** The base is at another offset of this pack, or has that id. */
  | { readonly kind: "delta"; readonly bytes: Buffer; readonly base: number | string };

export class PackFile {
  private readonly index: OpenFile;
  private readonly pack: OpenFile;
  private readonly fanout: Buffer;
  private readonly count: number;
  /** All ids, once many were asked for. */
  private ids: Buffer | undefined;
  private searches = 0;

  private constructor(index: OpenFile, pack: OpenFile, fanout: Buffer) {
    this.index = index;
    this.pack = pack;
    this.fanout = fanout;
    this.count = fanout.readUInt32BE(255 * 4);
  }

  /**
   * `name`: byte path of the `.idx`. Undefined if it or its pack is not there. Throws `Damaged` if they are no pair that git
   * would write today.
   */
  static open(inside: Inside, name: string): PackFile | undefined {
    const index = inside.open(name);
    const pack = index && inside.open(name.replace(/idx$/, "pack"));
    const isPair = index !== undefined && pack !== undefined;
    if (isPair) {
      const head = readAt(index.file, 0, tableAt);
      if (head.length === tableAt && head.readUInt32BE(0) === 0xff744f63 && head.readUInt32BE(4) === 2) {
        const opened = new PackFile(index, pack, head.subarray(headerBytes));
        if (index.stat.size >= tableAt + opened.count * (idBytes + 8) + 2 * idBytes) return opened;
      }
    }
    if (index) closeSync(index.file);
    if (pack) closeSync(pack.file);
    if (isPair) throw new Damaged("an index of a pack that makes no sense");
    return undefined;
  }

  close(): void {
    closeSync(this.index.file);
    closeSync(this.pack.file);
  }

  /** The offset of an object. */
  find(id: string): number | undefined {
    const first = Number.parseInt(id.slice(0, 2), 16);
    let low = first === 0 ? 0 : this.fanout.readUInt32BE((first - 1) * 4);
    let high = Math.min(this.fanout.readUInt32BE(first * 4), this.count);
    // also where the table does not rise
    if (low >= high) return undefined;
    const wanted = Buffer.from(id, "hex");
    while (high - low > (this.ids ? 0 : idsAtOnce)) {
      const middle = (low + high) >>> 1;
      const order = this.compare(middle, wanted);
      if (order === 0) return this.offset(middle);
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    const ids = readAt(this.index.file, tableAt + low * idBytes, (high - low) * idBytes);
    for (let found = ids.indexOf(wanted); found >= 0; found = ids.indexOf(wanted, found + 1)) {
      if (found % idBytes === 0) return this.offset(low + found / idBytes);
    }
    return undefined;
  }

  /** Compares the id at a position with another one. */
  private compare(position: number, id: Buffer): number {
    this.searches += 1;
    if (!this.ids && this.searches > fewSearches && this.count <= mostKept) {
      this.ids = readAt(this.index.file, tableAt, this.count * idBytes);
    }
    if (this.ids) {
      // Quicker than comparing bytes, and nearly always enough.
      const order = this.ids.readUInt32BE(position * idBytes + 4) - id.readUInt32BE(4);
      const first = this.ids.readUInt32BE(position * idBytes) - id.readUInt32BE(0);
      if (first !== 0 || order !== 0) return first || order;
      return this.ids.compare(id, 0, idBytes, position * idBytes, (position + 1) * idBytes);
    }
    return readAt(this.index.file, tableAt + position * idBytes, idBytes).compare(id);
  }

  private offset(position: number): number {
    const offsets = tableAt + this.count * (idBytes + 4);
    const bytes = readAt(this.index.file, offsets + position * 4, 4);
    const offset = bytes.length === 4 ? bytes.readUInt32BE(0) : 0;
    if (offset < 0x80000000) return offset;
    const long = readAt(this.index.file, offsets + this.count * 4 + (offset - 0x80000000) * 8, 8);
    return long.length === 8 ? Number(long.readBigUInt64BE(0)) : 0;
  }

  /** What is at an offset, inflated. Throws `Damaged` or `Gigantic`. `waste` is told of bytes that were looked at in vain. */
  read(offset: number, mostBytes: number, waste: (bytes: number) => void): PackEntry {
    if (offset < 12 || offset >= this.pack.stat.size - idBytes) throw new Damaged("a pack's index names no entry");
    // Type, size and base take 16 bytes, or 36 where the base is an id.
    const head = readAt(this.pack.file, offset, 48);
    let at = 0;
    let byte = head[at++] ?? 0;
    const type = (byte >> 4) & 7;
    let size = byte & 15;
    for (let scale = 16; byte & 0x80; scale *= 128) {
      byte = byteAt(head, at++);
      size += (byte & 0x7f) * scale;
    }
    let base: number | string | undefined;
    if (type === ofsDelta) {
      byte = byteAt(head, at++);
      let distance = byte & 0x7f;
      while (byte & 0x80) {
        byte = byteAt(head, at++);
        distance = (distance + 1) * 128 + (byte & 0x7f);
      }
      base = offset - distance;
      if (distance === 0) throw new Damaged("a delta of itself");
    } else if (type === refDelta) {
      base = head.toString("hex", at, at + idBytes);
      at += idBytes;
    }
    const bytes = inflate(this.pack.file, offset + at, this.pack.stat.size - idBytes, size, mostBytes, waste);
    if (base !== undefined) return { kind: "delta", bytes, base };
    const kind = kinds[type];
    if (kind === undefined) throw new Damaged("an entry of no kind in a pack");
    return { kind, bytes };
  }
}

function byteAt(bytes: Buffer, at: number): number {
  const byte = bytes[at];
  if (byte === undefined) throw new Damaged("a truncated pack");
  return byte;
}

/** Inflates what should be `size` bytes, from `begin` on, where the file's data ends at `end`. */
function inflate(
  file: number,
  begin: number,
  end: number,
  size: number,
  mostBytes: number,
  waste: (bytes: number) => void,
): Buffer {
  // What deflate makes of bytes that cannot be compressed; tried first, since the length is told nowhere.
  let length = Math.min(size + (size >>> 9) + 64, firstInput, mostBytes * 2);
  for (;;) {
    const input = readAt(file, begin, Math.max(Math.min(length, end - begin), 0));
    try {
      return inflateExactly(input, size, mostBytes);
    } catch (error) {
      waste(costOf(input, size));
      const isShort = (error as NodeJS.ErrnoException).code === "Z_BUF_ERROR";
      if (!isShort) throw error instanceof Gigantic ? error : new Damaged("data that cannot be inflated");
      if (input.length >= end - begin || length > mostBytes * 2) throw new Damaged("truncated data");
      length *= 4;
    }
  }
}

/** What it costs at most to find that `input` does not inflate to `size` bytes. */
export function costOf(input: Buffer, size: number): number {
  return Math.max(input.length, Math.min(size, input.length * mostInflated));
}

/** Throws `Damaged` unless `size` bytes come out, and `Gigantic` if it really is more than `mostBytes`. */
export function inflateExactly(input: Buffer, size: number, mostBytes: number): Buffer {
  const isLarge = size > mostBytes;
  try {
    const expected = Math.min(size, mostBytes);
    const bytes = inflateSync(input, {
      maxOutputLength: expected + 1,
      chunkSize: Math.min(Math.max(expected + 1, 64), 1 << 20),
    });
    if (bytes.length !== size) throw new Damaged("data of another length than it says");
    return bytes;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_BUFFER_TOO_LARGE") throw error;
    if (isLarge) throw new Gigantic(`an object of ${size} bytes`);
    throw new Damaged("data of another length than it says");
  }
}
