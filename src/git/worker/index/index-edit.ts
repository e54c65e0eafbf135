/**
 * Owns changing few entries of a big index without reading all of it: entries are found by bisection and patched where
 * they are; the rest is carried over as bytes.
 *
 * Invariants:
 * 1. Only an index that is of version 2 or 3, whole, without conflicts and without entries of extended flags is taken.
 * 2. Extensions are dropped: what they cache would be of other entries.
 */
import type { BigIntStats } from "node:fs";
import type { TreeEntry } from "../objects/git-object.js";

const headerBytes = 12;
const checksumBytes = 20;
/** Offsets within an entry. */
const at = { mode: 24, id: 40, flags: 60, path: 62 } as const;
const idBytes = 20;
const submoduleMode = 0o160000;
/** Extended, or of a conflict. */
const oddFlags = 0x7000;
const longestName = 0x0fff;
const unsigned32 = 0xffffffffn;

export class IndexEdit {
  readonly #bytes: Buffer;
  readonly #offsets: Uint32Array;
  /** Where the entries end. */
  readonly #end: number;
  readonly #removed = new Set<number>();
  readonly #added: { readonly offset: number; readonly path: string; readonly bytes: Buffer }[] = [];

  private constructor(bytes: Buffer, offsets: Uint32Array, end: number) {
    this.#bytes = bytes;
    this.#offsets = offsets;
    this.#end = end;
  }

  /** The bytes are changed. Undefined by invariant 1. */
  static of(bytes: Buffer): IndexEdit | undefined {
    const end = bytes.length - checksumBytes;
    if (end < headerBytes || bytes.toString("latin1", 0, 4) !== "DIRC") return undefined;
    const version = bytes.readUInt32BE(4);
    const count = bytes.readUInt32BE(8);
    if ((version !== 2 && version !== 3) || count * at.path > end) return undefined;
    const offsets = new Uint32Array(count);
    let position = headerBytes;
    for (let entry = 0; entry < count; entry++) {
      if (position + at.path > end) return undefined;
      const flags = bytes.readUInt16BE(position + at.flags);
      const length = flags & longestName;
      if ((flags & oddFlags) !== 0 || length === longestName) return undefined;
      offsets[entry] = position;
      position += entryBytes(length);
    }
    return position > end ? undefined : new IndexEdit(bytes, offsets, position);
  }

  /** Ids of the files of a name, in whatever directory. */
  entriesNamed(name: string): string[] {
    const wanted = Buffer.from(name, "latin1");
    const slash = 0x2f;
    const ids: string[] = [];
    for (const offset of this.#offsets) {
      const begin = offset + at.path;
      const end = begin + this.#pathLength(offset);
      const from = end - wanted.length;
      if (from < begin || this.#bytes[end - 1] !== wanted[wanted.length - 1]) continue;
      if (this.#bytes.compare(wanted, 0, wanted.length, from, end) !== 0) continue;
      if (from === begin || this.#bytes[from - 1] === slash) ids.push(this.#id(offset));
    }
    return ids;
  }

  /** Whether one of its entries is a gitlink. */
  hasSubmodules(): boolean {
    return this.#offsets.some((offset) => this.#bytes.readUInt32BE(offset + at.mode) === submoduleMode);
  }

  has(path: string): boolean {
    return this.#find(path).found;
  }

  /** Of a path that it has. */
  entry(path: string): TreeEntry {
    const offset = this.#offsetOf(path);
    return { mode: this.#bytes.readUInt32BE(offset + at.mode), id: this.#id(offset) };
  }

  change(path: string, entry: TreeEntry, stat: BigIntStats): void {
    writeEntry(this.#bytes, this.#offsetOf(path), entry, stat);
  }

  remove(path: string): void {
    this.#removed.add(this.#offsetOf(path));
  }

  add(path: string, entry: TreeEntry, stat: BigIntStats): void {
    const { position } = this.#find(path);
    const bytes = Buffer.alloc(entryBytes(path.length));
    writeEntry(bytes, 0, entry, stat);
    bytes.writeUInt16BE(path.length, at.flags);
    bytes.write(path, at.path, "latin1");
    this.#added.push({ offset: this.#offsets[position] ?? this.#end, path, bytes });
  }

  /** The new index, without its checksum. */
  content(): Buffer {
    const header = Buffer.from(this.#bytes.subarray(0, headerBytes));
    header.writeUInt32BE(this.#offsets.length + this.#added.length - this.#removed.size, 8);
    const pieces: Buffer[] = [header];
    let done = headerBytes;
    const upTo = (offset: number) => {
      pieces.push(this.#bytes.subarray(done, offset));
      done = offset;
    };
    const removed = [...this.#removed].map((offset) => ({ offset, path: "", bytes: undefined }));
    const edits = [...this.#added, ...removed].sort(
      // what is added where an entry is removed comes before it
      (a, b) => a.offset - b.offset || Number(!a.bytes) - Number(!b.bytes) || (a.path < b.path ? -1 : 1),
    );
    for (const { offset, bytes } of edits) {
      upTo(offset);
      if (bytes) pieces.push(bytes);
      else done = offset + entryBytes(this.#pathLength(offset));
    }
    upTo(this.#end);
    return Buffer.concat(pieces);
  }

  #offsetOf(path: string): number {
    const { found, position } = this.#find(path);
    if (!found) throw new Error("a path that the index does not have");
    return this.#offsets[position] as number;
  }

  /** Where the path is, or would be. */
  #find(path: string): { readonly found: boolean; readonly position: number } {
    const wanted = Buffer.from(path, "latin1");
    let low = 0;
    let high = this.#offsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const begin = (this.#offsets[middle] as number) + at.path;
      const end = begin + this.#pathLength(begin - at.path);
      const order = this.#bytes.compare(wanted, 0, wanted.length, begin, end);
      if (order === 0) return { found: true, position: middle };
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return { found: false, position: low };
  }

  #pathLength(offset: number): number {
    return this.#bytes.readUInt16BE(offset + at.flags) & longestName;
  }

  #id(offset: number): string {
    return this.#bytes.toString("hex", offset + at.id, offset + at.id + idBytes);
  }
}

/** Names end with one to eight zeros, so that entries begin at multiples of eight. */
function entryBytes(pathLength: number): number {
  return (at.path + pathLength + 8) & ~7;
}

function writeEntry(bytes: Buffer, offset: number, { mode, id }: TreeEntry, stat: BigIntStats): void {
  const { ctimeNs, mtimeNs, ino, uid, gid, size } = stat;
  const second = 1_000_000_000n;
  // of the device, which means nothing after a reboot, libgit2 writes nothing either
  const fields = [ctimeNs / second, ctimeNs % second, mtimeNs / second, mtimeNs % second, 0n, ino];
  fields.push(BigInt(mode), uid, gid, size);
  for (const [position, value] of fields.entries()) {
    bytes.writeUInt32BE(Number(value & unsigned32), offset + position * 4);
  }
  bytes.write(id, offset + at.id, "hex");
}
