/**
 * Owns reading the secrets of forges.
 *
 * Invariants:
 * 1. A secret is read again when it is needed and was read more than a second ago, so that it can be rotated.
 * 2. What is thrown says which file, and nothing of what is in it.
 */
import { readFile } from "node:fs/promises";
import { firstLine, isHeaderText } from "../domain/secret-text.js";

const freshMs = 1_000;

export class SecretFile {
  readonly #path: string;
  #last: Promise<string> | undefined;
  #readAt = Number.NEGATIVE_INFINITY;

  constructor(path: string) {
    this.#path = path;
  }

  /** Its first line. Fails if that is empty, or could not be a header's value. */
  read(): Promise<string> {
    if (this.#last && performance.now() - this.#readAt < freshMs) return this.#last;
    this.#readAt = performance.now();
    this.#last = readFile(this.#path, "utf8").then(
      (text) => {
        const line = firstLine(text).trim();
        if (line !== "" && isHeaderText(line)) return line;
        throw new Error(`the first line of ${this.#path} is empty or has other than printable ASCII characters`);
      },
      (error: NodeJS.ErrnoException) => {
        throw new Error(`${this.#path} cannot be read: ${error.code ?? "it is no file"}`);
      },
    );
    return this.#last;
  }
}
