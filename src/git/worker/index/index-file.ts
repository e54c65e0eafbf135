/**
 * Owns reading git's index file (versions 2, 3 and 4).
 *
 * Read here and not by libgit2: its entries cost 5 µs each to bring over, and a holder's index is data to look at,
 * never to obey.
 */
import { createHash } from "node:crypto";

/** Offsets within an entry. */
const at = { ctime: 0, mtime: 8, ino: 20, mode: 24, uid: 28, gid: 32, size: 36, id: 40, flags: 60, path: 62 } as const;
const headerBytes = 12;
const checksumBytes = 20;
/** Bytes of all paths: in version 4, a path says how it differs from the last one. */
const mostPathBytes = 256 * 1024 * 1024;
const flag = { extended: 0x4000, stage: 0x3000, nameLength: 0x0fff, intent: 0x2000 } as const;

/** What `lstat` told of a file when it was written. Times in milliseconds, computed as Node does. */
export interface IndexStat {
  readonly ctimeMs: number;
  readonly mtimeMs: number;
  /** The low 32 bits. */
  readonly ino: number;
  readonly uid: number;
  readonly gid: number;
  /** The low 32 bits. */
  readonly size: number;
}

/** Entries in the order of their paths' bytes. */
export class IndexFile {
  /** Byte paths. */
  readonly paths: readonly string[];
  /** What says where its other entries are ("split index"); undefined if it has none. */
  readonly link: Buffer | undefined;
  private readonly bytes: Buffer;
  private readonly offsets: readonly number[];

  /** Throws if the bytes are no index. The checksum is not looked at (`verifyChecksum`): a holder's may have none. */
  constructor(bytes: Buffer) {
    if (bytes.length < headerBytes + checksumBytes || bytes.toString("latin1", 0, 4) !== "DIRC") {
      throw new Error("not an index");
    }
    const version = bytes.readUInt32BE(4);
    if (version < 2 || version > 4) throw new Error(`index version ${version}`);
    this.bytes = bytes;
    const paths: string[] = [];
    const offsets: number[] = [];
    const end = bytes.length - checksumBytes;
    let position = headerBytes;
    const text = version < 4 ? bytes.toString("latin1") : "";
    let last = "";
    let pathBytes = 0;
    for (let left = bytes.readUInt32BE(8); left > 0; left--) {
      if (position + at.path > end) throw new Error("truncated index");
      const flags = bytes.readUInt16BE(position + at.flags);
      let begin = position + at.path + (flags & flag.extended ? 2 : 0);
      let kept = "";
      if (version === 4) {
        const [strip, after] = readVarint(bytes, begin);
        kept = last.slice(0, Math.max(last.length - strip, 0));
        begin = after;
      }
      const known = flags & flag.nameLength;
      const stop = version < 4 && known < flag.nameLength ? begin + known : bytes.indexOf(0, begin);
      if (stop < 0 || stop >= end) throw new Error("truncated index");
      last = version < 4 ? text.slice(begin, stop) : kept + bytes.toString("latin1", begin, stop);
      pathBytes += last.length;
      if (pathBytes > mostPathBytes) throw new Error("an index with endless paths");
      paths.push(last);
      offsets.push(position);
      position = version === 4 ? stop + 1 : position + ((stop - position + 8) & ~7);
    }
    this.paths = paths;
    this.offsets = offsets;
    this.link = bytes.includes("link", position, "latin1") ? extension(bytes, position, end, "link") : undefined;
  }

  /** Of a repository without commits. */
  static empty(): IndexFile {
    const bytes = Buffer.alloc(headerBytes + checksumBytes);
    bytes.write("DIRC", "latin1");
    bytes.writeUInt32BE(2, 4);
    return new IndexFile(bytes);
  }

  get length(): number {
    return this.paths.length;
  }

  id(entry: number): string {
    const offset = this.offset(entry) + at.id;
    return this.bytes.toString("hex", offset, offset + 20);
  }

  /** Writes the 20 bytes of an entry's id. By hand: a call of Buffer costs more than so few bytes. */
  copyId(entry: number, target: Uint8Array, begin: number): void {
    const { bytes } = this;
    const offset = this.offset(entry) + at.id;
    for (let byte = 0; byte < 20; byte++) target[begin + byte] = bytes[offset + byte] as number;
  }

  /** Git's mode, such as 0o100644. */
  mode(entry: number): number {
    return this.bytes.readUInt32BE(this.offset(entry) + at.mode);
  }

  /** Whether an entry has the same content, mode and stage as one of another index. Quicker than asking for each. */
  isSame(entry: number, other: IndexFile, otherEntry: number): boolean {
    const [mine, theirs] = [this.offset(entry), other.offset(otherEntry)];
    return (
      this.bytes.readUInt32BE(mine + at.mode) === other.bytes.readUInt32BE(theirs + at.mode) &&
      this.bytes.compare(other.bytes, theirs + at.id, theirs + at.flags, mine + at.id, mine + at.flags) === 0 &&
      this.stage(entry) === other.stage(otherEntry)
    );
  }

  /** 0, or 1 to 3 of a conflict. */
  stage(entry: number): number {
    return (this.bytes.readUInt16BE(this.offset(entry) + at.flags) & flag.stage) >> 12;
  }

  /** Whether it is a promise to add a file (`git add --intent-to-add`), without content. */
  isIntent(entry: number): boolean {
    const offset = this.offset(entry) + at.flags;
    const isExtended = (this.bytes.readUInt16BE(offset) & flag.extended) !== 0;
    return isExtended && (this.bytes.readUInt16BE(offset + 2) & flag.intent) !== 0;
  }

  stat(entry: number): IndexStat {
    const offset = this.offset(entry);
    return {
      ctimeMs: this.time(offset + at.ctime),
      mtimeMs: this.time(offset + at.mtime),
      ino: this.bytes.readUInt32BE(offset + at.ino),
      uid: this.bytes.readUInt32BE(offset + at.uid),
      gid: this.bytes.readUInt32BE(offset + at.gid),
      size: this.bytes.readUInt32BE(offset + at.size),
    };
  }

  /** The very arithmetic of `fs.Stats`, so that equal times are equal numbers. */
  private time(offset: number): number {
    return this.bytes.readUInt32BE(offset) * 1000 + this.bytes.readUInt32BE(offset + 4) / 1_000_000;
  }

  /** Where it begins in the bytes. */
  offset(entry: number): number {
    return this.offsets[entry] as number;
  }
}

/** Throws if the checksum that an index ends with is not its own. */
export function verifyChecksum(bytes: Buffer): void {
  const end = Math.max(bytes.length - checksumBytes, 0);
  const sum = createHash("sha1").update(bytes.subarray(0, end)).digest();
  if (!sum.equals(bytes.subarray(end))) throw new Error("index with a wrong checksum");
}

/** Git's "offset encoding". */
function readVarint(bytes: Buffer, begin: number): [value: number, after: number] {
  let position = begin;
  let byte = bytes.readUInt8(position++);
  let value = byte & 0x7f;
  while (byte & 0x80) {
    byte = bytes.readUInt8(position++);
    value = (value + 1) * 128 + (byte & 0x7f);
  }
  return [value, position];
}

function extension(bytes: Buffer, begin: number, end: number, name: string): Buffer | undefined {
  for (let position = begin; position + 8 <= end; ) {
    const stop = position + 8 + bytes.readUInt32BE(position + 4);
    if (bytes.toString("latin1", position, position + 4) === name)
      return bytes.subarray(position + 8, Math.min(stop, end));
    position = stop;
  }
  return undefined;
}
