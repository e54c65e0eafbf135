/** Owns git's deltas: making an object from its base, with every bound checked. */
import { Damaged } from "./git-object.js";
import { Gigantic } from "./pack-file.js";

export function applyDelta(base: Buffer, delta: Buffer, mostBytes: number): Buffer {
  const reader = new Reader(delta);
  if (reader.varint() !== base.length) throw new Damaged("a delta of another base");
  const size = reader.varint();
  if (size > mostBytes) throw new Gigantic(`an object of ${size} bytes`);
  const result = Buffer.allocUnsafe(size);
  let at = 0;
  while (!reader.ended) {
    const command = reader.byte();
    if (command === 0) throw new Damaged("a delta with an unknown command");
    const isCopy = (command & 0x80) !== 0;
    const from = isCopy ? reader.number(command, 4) : reader.position;
    const length = isCopy ? reader.number(command >> 4, 3) || 0x10000 : command;
    const source = isCopy ? base : delta;
    if (from + length > source.length || at + length > size) throw new Damaged("a delta beyond its bounds");
    source.copy(result, at, from, from + length);
    if (!isCopy) reader.position += length;
    at += length;
  }
  if (at !== size) throw new Damaged("a delta that is too short");
  return result;
}

class Reader {
  position = 0;
  private readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get ended(): boolean {
    return this.position >= this.bytes.length;
  }

  byte(): number {
    const byte = this.bytes[this.position++];
    if (byte === undefined) throw new Damaged("a truncated delta");
    return byte;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (!(byte & 0x80) || scale > 2 ** 45) return value;
    }
  }

  /** Little-endian, of those bytes whose bit is set in `bits`. */
  number(bits: number, bytes: number): number {
    let value = 0;
    for (let index = 0; index < bytes; index++) {
      if (bits & (1 << index)) value += this.byte() * 2 ** (8 * index);
    }
    return value;
  }
}
