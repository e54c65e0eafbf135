/**
 * Owns finding objects by the first digits of their id, in packs and among loose objects.
 *
 * libgit2 only tells that a prefix is ambiguous, not what it may mean, and does not narrow it to commits.
 */
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";

const headerBytes = 8;
const fanoutBytes = 256 * 4;
const idBytes = 20;
const indexMagic = 0xff744f63;

/** Ids of all objects that begin with `prefix` (lower case hex, at least 2 digits), each once. */
export function objectsWithPrefix(objects: string, prefix: string): Set<string> {
  const found = new Set<string>();
  for (const name of list(join(objects, prefix.slice(0, 2)))) {
    const id = prefix.slice(0, 2) + name;
    if (id.length === 2 * idBytes && id.startsWith(prefix)) found.add(id);
  }
  for (const name of list(join(objects, "pack"))) {
    if (name.endsWith(".idx")) searchPack(join(objects, "pack", name), prefix, found);
  }
  return found;
}

/** Reads the fan-out entry of the first byte and then only the ids that begin with it. */
function searchPack(path: string, prefix: string, found: Set<string>): void {
  const file = openSync(path, "r");
  try {
    const head = Buffer.alloc(headerBytes + fanoutBytes);
    readSync(file, head, 0, head.length, 0);
    if (head.readUInt32BE(0) !== indexMagic || head.readUInt32BE(4) !== 2) return;
    const first = Number.parseInt(prefix.slice(0, 2), 16);
    const begin = first === 0 ? 0 : head.readUInt32BE(headerBytes + (first - 1) * 4);
    const end = head.readUInt32BE(headerBytes + first * 4);
    const ids = Buffer.alloc((end - begin) * idBytes);
    readSync(file, ids, 0, ids.length, head.length + begin * idBytes);
    for (let at = 0; at < ids.length; at += idBytes) {
      const id = ids.toString("hex", at, at + idBytes);
      if (id.startsWith(prefix)) found.add(id);
    }
  } finally {
    closeSync(file);
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
