/**
 * Owns which contents of Git LFS in a workspace exist nowhere else.
 *
 * Invariant: a file counts as the commit's only if it has the size and the SHA-256 of the pointer, and the mirror has that
 * content; so what a holder added and did not push is work, also where a commit of theirs names it.
 */
import { createHash } from "node:crypto";
import { closeSync } from "node:fs";
import { type Inside, readAt } from "../files/inside.js";
import { parsePointer } from "../modules/lfs-files.js";
import { hasLfsObject, storeName } from "../modules/lfs-store.js";

const chunk = 1024 * 1024;

/** `pointer`: the blob that the commit has at the byte path. */
export function isLfsContent(inside: Inside, path: string, pointer: Buffer, mirror: string): boolean {
  const object = parsePointer(pointer);
  if (!object || !hasLfsObject(mirror, object)) return false;
  const opened = inside.open(path);
  if (!opened) return false;
  try {
    if (opened.stat.size !== object.size) return false;
    const hash = createHash("sha256");
    for (let at = 0; at < object.size; at += chunk)
      hash.update(readAt(opened.file, at, Math.min(chunk, object.size - at)));
    return hash.digest("hex") === object.oid;
  } finally {
    closeSync(opened.file);
  }
}

/** Byte paths of contents in a git directory that the mirror does not have. */
export function unsavedLfs(inside: Inside, git: string, mirror: string): string[] {
  const found: string[] = [];
  const store = `${git}/${storeName}`;
  const below = (path: string, pattern: RegExp): string[] =>
    (inside.list(path) ?? []).flatMap(({ name }) => (pattern.test(name) ? [`${path}/${name}`] : []));
  for (const first of below(store, /^[0-9a-f]{2}$/)) {
    for (const second of below(first, /^[0-9a-f]{2}$/)) {
      for (const path of below(second, /^[0-9a-f]{64}$/)) {
        const stat = inside.stat(path);
        const oid = path.slice(-64);
        if (stat?.isFile() && !hasLfsObject(mirror, { oid, size: stat.size })) found.push(path);
      }
    }
  }
  return found;
}
