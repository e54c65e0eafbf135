/** Owns what is answered over plain HTTP: `/healthz`, `/readyz`, and 404 for the rest. */
import type { NodeHandler, NodeResponse } from "./listener.js";
import type { ReadinessGauge } from "./readiness.js";

export function probes(readiness: ReadinessGauge): NodeHandler {
  return (request, response) => {
    request.resume();
    const path = (request.url ?? "").split("?", 1)[0];
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (isRead && path === "/healthz") return answerJson(response, 200, { ok: true });
    if (isRead && path === "/readyz") {
      void readiness.read().then((state) => answerJson(response, state.ok ? 200 : 503, state));
      return;
    }
    answer(response, 404, "text/plain; charset=utf-8", "not found\n");
  };
}

function answerJson(response: NodeResponse, status: number, body: object): void {
  answer(response, status, "application/json", `${JSON.stringify(body)}\n`);
}

function answer(response: NodeResponse, status: number, type: string, body: string): void {
  if (response.destroyed) return;
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  // one signature of two types
  (response as { end(chunk: string): void }).end(body);
}
