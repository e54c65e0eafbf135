/** Owns answers over plain HTTP: to probes, to webhooks, and to what is neither. */
import type { NodeResponse } from "./listener.js";
import { isGone } from "./node-response.js";

export function answerText(
  response: NodeResponse,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  answer(response, status, { "content-type": "text/plain; charset=utf-8", ...headers }, `${text}\n`);
}

export function answerJson(response: NodeResponse, status: number, body: object): void {
  answer(response, status, { "content-type": "application/json" }, `${JSON.stringify(body)}\n`);
}

function answer(response: NodeResponse, status: number, headers: Readonly<Record<string, string>>, body: string): void {
  if (isGone(response)) return;
  const hasBody = status !== 204;
  response.writeHead(status, {
    ...(hasBody ? { ...headers, "content-length": String(Buffer.byteLength(body)) } : {}),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  // one signature of two types
  (response as { end(chunk?: string): void }).end(hasBody ? body : undefined);
}
