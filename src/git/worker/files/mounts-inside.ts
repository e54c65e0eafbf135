/**
 * Owns finding file systems that are mounted inside a directory, by what the kernel tells: nothing inside is touched.
 *
 * A bind mount of the same file system bears the same device number, so numbers alone do not tell.
 */
import { readFileSync, realpathSync } from "node:fs";
import { toFsPath } from "./byte-path.js";

const table = "/proc/self/mountinfo";

/** Byte paths of mount points at or below a directory, relative to it; none where the system does not tell. */
export function mountsBelow(directory: string | Buffer): string[] {
  let text: string;
  let root: string;
  try {
    text = readFileSync(table, "latin1");
    root = realpathSync(directory, "buffer").toString("latin1");
  } catch {
    return [];
  }
  const found = new Set<string>();
  for (const line of text.split("\n")) {
    const point = (line.split(" ", 5)[4] ?? "").replace(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    );
    if (point === root) found.add("");
    else if (point.startsWith(`${root}/`)) found.add(point.slice(root.length + 1));
  }
  return [...found];
}

/** The same as absolute byte paths without symlinks. `directory`: bytes. */
export function mountPointsBelow(directory: string): Set<string> {
  const points = mountsBelow(toFsPath(directory));
  if (points.length === 0) return new Set();
  const root = realpathSync(toFsPath(directory), "buffer").toString("latin1");
  return new Set(points.map((point) => (point === "" ? root : `${root}/${point}`)));
}
