/** Owns reading the body of an answer, up to a limit. */

/** The text, or undefined if it is longer than `maxBytes`: then no more of it is read. */
export async function boundedText(response: Response, maxBytes: number): Promise<string | undefined> {
  if (!response.body) return "";
  const chunks: Uint8Array[] = [];
  let length = 0;
  // leaving the loop cancels the body
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    length += chunk.byteLength;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
