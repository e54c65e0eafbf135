/** Owns what is answered over plain HTTP where nothing else is: `/healthz`, `/readyz`, and 404 for the rest. */

import type { ReadinessGauge } from "../readiness.js";
import type { NodeHandler } from "./listener.js";
import { answerJson, answerText } from "./plain-answer.js";

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
    answerText(response, 404, "not found");
  };
}
