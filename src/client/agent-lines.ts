/**
 * Owns splitting an agent's output into lines.
 *
 * Invariants:
 * 1. No more than one line of the longest length is kept, whatever comes.
 */

export interface LineReader {
  readonly onLine: (line: string) => void;
  /** Told once of each line that is too long; nothing of it is kept. */
  readonly onTooLong: (mostBytes: number) => void;
}

const newline = 10;

export class LineSplitter {
  readonly #most: number;
  readonly #reader: LineReader;
  #pieces: Buffer[] = [];
  #length = 0;
  #skipping = false;

  constructor(mostBytes: number, reader: LineReader) {
    this.#most = mostBytes;
    this.#reader = reader;
  }

  add(bytes: Buffer): void {
    let from = 0;
    for (let at = bytes.indexOf(newline); at >= 0; at = bytes.indexOf(newline, from)) {
      this.#keep(bytes.subarray(from, at));
      this.end();
      from = at + 1;
    }
    this.#keep(bytes.subarray(from));
  }

  /** What came last is a line, also without its end. */
  end(): void {
    const line = Buffer.concat(this.#pieces).toString("utf8").trim();
    this.#pieces = [];
    this.#length = 0;
    this.#skipping = false;
    if (line !== "") this.#reader.onLine(line);
  }

  #keep(bytes: Buffer): void {
    if (this.#skipping || bytes.length === 0) return;
    this.#length += bytes.length;
    if (this.#length > this.#most) {
      this.#skipping = true;
      this.#pieces = [];
      this.#reader.onTooLong(this.#most);
      return;
    }
    this.#pieces.push(bytes);
  }
}
