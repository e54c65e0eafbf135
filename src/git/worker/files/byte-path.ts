/**
 * Owns paths as bytes: git's paths are bytes and need not be UTF-8.
 *
 * A byte path is a string with one character (U+0000 to U+00FF) per byte. It compares and concatenates like the bytes.
 */

const beyondAscii = /[^\x00-\x7f]/;
/** A path of 4,000 bytes tells an operator no more than its beginning. */
const longestShown = 200;

export function toBytePath(path: string): string {
  return beyondAscii.test(path) ? Buffer.from(path, "utf8").toString("latin1") : path;
}

/** What `node:fs` takes. */
export function toFsPath(bytes: string): string | Buffer {
  return beyondAscii.test(bytes) ? Buffer.from(bytes, "latin1") : bytes;
}

/** As text, for libgit2 and for people; undefined if it is not UTF-8. */
export function toText(bytes: string): string | undefined {
  if (!beyondAscii.test(bytes)) return bytes;
  const raw = Buffer.from(bytes, "latin1");
  const text = raw.toString("utf8");
  return Buffer.from(text, "utf8").equals(raw) ? text : undefined;
}

/** For people: control characters and what is not UTF-8 are replaced. */
export function toShown(bytes: string): string {
  if (bytes === "") return ".";
  const text = JSON.stringify(Buffer.from(bytes, "latin1").toString("utf8")).slice(1, -1);
  return text.length > longestShown ? `${text.slice(0, longestShown)}...` : text;
}
