/**
 * Owns how what git says of a change, in bytes, becomes text that can be recorded.
 *
 * Invariants:
 * 1. Whatever the bytes are, the text is one that the server takes: well-formed, without NUL, and of bounded length.
 */

export const mostPatchBytes = 256 * 1024;

/** A file's part of a patch, as far as it is kept. */
export interface Piece {
  readonly bytes: Buffer;
  readonly cut: boolean;
}

/** Splits git's patch of many files; no line of a patch but a file's first begins like that. */
export class PatchSplitter {
  readonly #onPiece: (piece: Piece) => void;
  readonly #marker = Buffer.from("\ndiff --git ");
  #held = Buffer.from("\n");
  #begun = false;
  #kept: Buffer[] = [];
  #length = 0;

  constructor(onPiece: (piece: Piece) => void) {
    this.#onPiece = onPiece;
  }

  add(piece: Buffer): void {
    let rest = Buffer.concat([this.#held, piece]);
    for (;;) {
      const at = rest.indexOf(this.#marker);
      if (at < 0) break;
      this.#keep(rest.subarray(0, at + 1));
      this.#finish();
      this.#begun = true;
      this.#keep(rest.subarray(at + 1, at + this.#marker.length));
      rest = rest.subarray(at + this.#marker.length);
    }
    const most = Math.max(0, rest.length - this.#marker.length);
    this.#keep(rest.subarray(0, most));
    this.#held = Buffer.from(rest.subarray(most));
  }

  end(): void {
    this.#keep(this.#held);
    this.#finish();
  }

  #keep(bytes: Buffer): void {
    if (!this.#begun) return;
    const room = mostPatchBytes - this.#length;
    if (room > 0) this.#kept.push(Buffer.from(bytes.subarray(0, room)));
    this.#length += bytes.length;
  }

  #finish(): void {
    if (this.#begun) this.#onPiece({ bytes: Buffer.concat(this.#kept), cut: this.#length > mostPatchBytes });
    this.#kept = [];
    this.#length = 0;
  }
}

/** A file's patch as it is recorded, and whether that is the whole difference. */
export function patchText(pieces: readonly Piece[]): { patch: string; whole: boolean } {
  const bytes = Buffer.concat(pieces.map((piece) => piece.bytes));
  const patch = cut(bytes, mostPatchBytes).replaceAll("\0", "\uFFFD");
  const binary = /^Binary files .* differ$/m.test(patch) && !/^@@ /m.test(patch);
  const same = Buffer.from(patch).equals(bytes);
  return { patch, whole: same && !binary && !pieces.some((piece) => piece.cut) };
}

/** As text of at most `most` bytes; a character that the cut goes through is left out, bytes that are no text are replaced. */
export function cut(bytes: Buffer, most: number): string {
  let text = bytes.subarray(0, most).toString("utf8");
  if (bytes.length > most) text = text.replace(/\uFFFD+$/, "");
  while (Buffer.byteLength(text) > most)
    text = text.slice(0, Math.floor((text.length * most) / Buffer.byteLength(text)));
  return text.replace(/[\uD800-\uDBFF]$/, "");
}

const mostPathBytes = 4_096;

/** A path as it is recorded. */
export function shown(path: Buffer): string {
  const text = path.toString("utf8");
  if (Buffer.from(text).equals(path) && !/\p{Cc}/u.test(text)) return text;
  const named: Readonly<Record<number, string>> = {
    7: "a",
    8: "b",
    9: "t",
    10: "n",
    11: "v",
    12: "f",
    13: "r",
    34: '"',
    92: "\\",
  };
  const characters = [...path].map((byte) => {
    const name = named[byte];
    if (name !== undefined) return `\\${name}`;
    return byte < 32 || byte > 126 ? `\\${byte.toString(8).padStart(3, "0")}` : String.fromCharCode(byte);
  });
  return `"${characters.join("")}"`.slice(0, mostPathBytes);
}
