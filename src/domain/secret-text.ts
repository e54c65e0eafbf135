/** Owns which part of a file is the secret in it: its first line. */

export function firstLine(text: string): string {
  return text.split(/\r?\n/, 1)[0] ?? "";
}

/** Whether a line could be the value of a header of HTTP. */
export function isHeaderText(line: string): boolean {
  return /^[\x20-\x7e]*$/.test(line);
}
