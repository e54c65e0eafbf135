/**
 * Owns the judgement of a file with a secret before anything is started with it.
 *
 * Invariant: no part of the secret is in what is told of it.
 */
import { readFileSync, statSync } from "node:fs";
import { firstLine, isHeaderText } from "../domain/secret-text.js";

/** What is wrong with it, or undefined. The first line counts, and has to fit into a header of HTTP. */
export function secretFileFault(path: string): string | undefined {
  try {
    // a pipe would be waited for
    if (!statSync(path).isFile()) return `${path} is no regular file`;
    const line = firstLine(readFileSync(path, "utf8"));
    if (line.trim() === "") return `the first line of ${path} is empty`;
    return isHeaderText(line) ? undefined : `the first line of ${path} has other than printable ASCII characters`;
  } catch (error) {
    return `${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? "it is no file"}`;
  }
}
