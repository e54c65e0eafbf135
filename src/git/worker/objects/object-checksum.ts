/**
 * Owns whether a file of an objects directory has the bytes that it says it has: a pack and its index by the checksum
 * that each ends with, a loose object by its name.
 *
 * Invariants:
 * 1. Only regular files are opened; nothing waits for a pipe.
 * 2. What this host fails at is not told as damage: it throws.
 */
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { isHostFault } from "../files/fault.js";
import { Inside } from "../files/inside.js";
import { ObjectStore } from "./object-store.js";

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const checksumBytes = 20;
const chunkBytes = 1 << 20;

/** `name`: below `objects`, such as `pack/pack-….idx` or `ab/…`. */
export function isSound(objects: string, name: string): boolean {
  try {
    const path = join(objects, name);
    if (!name.startsWith("pack/")) return isSoundLoose(objects, name.replace("/", ""));
    const isWhole = withFile(path, hasOwnChecksum);
    return isWhole && (name.endsWith(".idx") || checksumOf(path) === namedChecksum(path.replace(/pack$/, "idx")));
  } catch (error) {
    if (isHostFault(error)) throw error;
    return false;
  }
}

/** What a pack, or its index, ends with; empty where there is none. */
export function checksumOf(path: string): string {
  try {
    return tailOf(path, checksumBytes).toString("hex");
  } catch (error) {
    if (isHostFault(error)) throw error;
    return "";
  }
}

/** The checksum of the pack that an index is of. */
function namedChecksum(path: string): string {
  return tailOf(path, 2 * checksumBytes).toString("hex", 0, checksumBytes);
}

function isSoundLoose(objects: string, id: string): boolean {
  const store = new ObjectStore(new Inside(objects), "");
  try {
    return store.findLoose(id) !== undefined;
  } finally {
    store.close();
  }
}

function hasOwnChecksum(file: number, size: number): boolean {
  const end = size - checksumBytes;
  const hash = createHash("sha1");
  const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(end, 0)));
  for (let at = 0; at < end; ) {
    const read = readSync(file, chunk, 0, Math.min(chunk.length, end - at), at);
    if (read === 0) return false;
    hash.update(chunk.subarray(0, read));
    at += read;
  }
  return end > 0 && hash.digest().equals(tail(file, size, checksumBytes));
}

function withFile<T>(path: string, work: (file: number, size: number) => T): T {
  const file = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) throw new Error("no file");
    return work(file, stat.size);
  } finally {
    closeSync(file);
  }
}

/** The last bytes of a file. Throws if it has fewer. */
export function tailOf(path: string, length: number): Buffer {
  return withFile(path, (file, size) => tail(file, size, length));
}

function tail(file: number, size: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  if (size < length || readSync(file, bytes, 0, length, size - length) !== length) throw new Error("too short");
  return bytes;
}
