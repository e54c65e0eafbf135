/**
 * Owns reading an index whose entries are partly in another file (git-update-index(1), `--split-index`). The form is
 * that of gitformat-index(5), "Split index", and of git's ewah/ewah_io.c for its bitmaps.
 *
 * Invariant: the bytes are a holder's: what does not add up throws, and nothing is read beyond them.
 */
import { IndexFile } from "./index-file.js";
import { formatIndexFile, type WrittenEntry } from "./index-writer.js";

const idBytes = 20;
const wordBytes = 8;
const wordBits = 64;

/** Which file the other entries are in, below the git directory; undefined if there is none. */
export function sharedIndexName({ link }: IndexFile): string | undefined {
  if (!link || link.length < idBytes) return undefined;
  const id = link.toString("hex", 0, idBytes);
  return /^0+$/.test(id) ? undefined : `sharedindex.${id}`;
}

/** All entries as one index. */
export function joinSplitIndex(own: IndexFile, shared: IndexFile): IndexFile {
  const link = own.link ?? Buffer.alloc(0);
  const removed = new Set<number>();
  const replaced = new Map<number, number>();
  if (link.length > idBytes) {
    const after = readBitmap(link, idBytes, shared.length, (position) => removed.add(position));
    readBitmap(link, after, shared.length, (position) => replaced.set(position, replaced.size));
  }
  const entries = new Map<string, WrittenEntry>();
  const put = (entry: WrittenEntry): void => {
    if (entry.stage === 0) for (const stage of [1, 2, 3]) entries.delete(`${stage} ${entry.path}`);
    entries.set(`${entry.stage} ${entry.path}`, entry);
  };
  for (const [position, path] of shared.paths.entries()) {
    if (removed.has(position)) continue;
    const by = replaced.get(position);
    if (by === undefined) put(entryAt(shared, position, path));
    else if (own.paths[by] === "") put(entryAt(own, by, path));
    else throw new Error("a split index whose replacements do not add up");
  }
  for (const [position, path] of own.paths.entries()) {
    if (position < replaced.size) continue;
    if (path === "") throw new Error("a split index with an entry without a name");
    put(entryAt(own, position, path));
  }
  return new IndexFile(formatIndexFile([...entries.values()]));
}

function entryAt(index: IndexFile, position: number, path: string): WrittenEntry {
  const [id, mode, stage] = [index.id(position), index.mode(position), index.stage(position)];
  return { path, id, mode, stage, intent: index.isIntent(position) };
}

/** Tells the positions of bits that are set, all below `limit`; answers where the bitmap ends. */
function readBitmap(bytes: Buffer, begin: number, limit: number, tell: (position: number) => void): number {
  const words = bytes.readUInt32BE(begin + 4);
  const first = begin + 8;
  const end = first + words * wordBytes;
  if (end + 4 > bytes.length) throw new Error("a split index with a truncated bitmap");
  const set = (position: number): void => {
    if (position >= limit) throw new Error("a split index with a bitmap that is too long");
    tell(position);
  };
  let position = 0;
  for (let at = first; at < end; ) {
    // a word that says how many words of equal bits follow, and how many words as they are
    const [high, low] = [bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)];
    const equal = (low >>> 1) + (high & 1) * 2 ** 31;
    const literal = high >>> 1;
    at += wordBytes;
    if (low & 1) for (let bit = 0; bit < equal * wordBits; bit++) set(position + bit);
    position += equal * wordBits;
    if (at + literal * wordBytes > end) throw new Error("a split index with a truncated bitmap");
    for (let word = 0; word < literal; word++, at += wordBytes, position += wordBits) {
      for (let bit = 0; bit < wordBits; bit++) {
        const half = bytes.readUInt32BE(bit < 32 ? at + 4 : at);
        if ((half >>> (bit % 32)) & 1) set(position + bit);
      }
    }
  }
  return end + 4;
}
