/**
 * Owns `POST /webhooks/<forge>`: messages of forges over plain HTTP, and what they are answered.
 *
 * Invariants:
 * 1. Who has no bearer token is judged by the signature alone, before anything of the message is read.
 * 2. 202 is answered after the event was stored, and before anything is done for it.
 * 3. Whatever a peer sends, it costs a bounded amount of memory, and nothing leaves this file but an answer.
 */
import { Failure } from "../../domain/failure.js";
import type { Log } from "../../log.js";
import type { HeaderReader } from "../../ports/webhooks.js";
import type { Deliveries } from "../../service/webhooks/deliveries.js";
import { type BodyLimits, BodyReader } from "./bounded-request.js";
import type { NodeHandler, NodeRequest, NodeResponse } from "./listener.js";
import { answerText } from "./plain-answer.js";

export type WebhookReceiver = Pick<Deliveries, "sender" | "receive">;

const prefix = "/webhooks/";

export const webhookLimits: BodyLimits = {
  maxBytes: 1024 * 1024,
  maxTotalBytes: 64 * 1024 * 1024,
  maxWastedBytes: 8 * 1024 * 1024,
  wasteMs: 5_000,
};

/** `other` answers the rest. */
export function webhooks(receiver: WebhookReceiver, log: Log, other: NodeHandler): NodeHandler {
  const reader = new BodyReader(webhookLimits);
  return (request, response) => {
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    if (!path.startsWith(prefix)) return other(request, response);
    void receive(path.slice(prefix.length), request, response, { receiver, reader }).catch((error: unknown) => {
      const isAway = error instanceof Failure && error.reason === "DATABASE_UNAVAILABLE";
      log.error({ err: isAway ? undefined : error }, "a message of a forge could not be stored");
      answerText(response, 503, "this cannot be stored now", { "retry-after": "10" });
    });
  };
}

interface Parts {
  readonly receiver: WebhookReceiver;
  readonly reader: BodyReader;
}

async function receive(name: string, request: NodeRequest, response: NodeResponse, parts: Parts): Promise<void> {
  const { receiver, reader } = parts;
  const refuse = (status: number, text: string, headers?: Readonly<Record<string, string>>) => {
    reader.waste(request, response);
    answerText(response, status, text, headers);
  };
  const forge = receiver.sender(name);
  if (!forge) return refuse(404, "not found");
  if (request.method !== "POST") return refuse(405, "only POST", { allow: "POST" });
  if (!/^application\/json\s*(;|$)/i.test(request.headers["content-type"] ?? "")) {
    return refuse(415, "the content type has to be application/json");
  }
  const header: HeaderReader = (key) => {
    const value = request.headers[key];
    return typeof value === "string" ? value : undefined;
  };
  await reader.with(request, async (body) => {
    if (body.kind === "gone") return;
    if (body.kind === "busy") return refuse(503, "too many at once", { "retry-after": "10" });
    if (body.kind !== "body") return refuse(413, `at most ${webhookLimits.maxBytes} bytes`);
    const received = await receiver.receive(forge, header, body.bytes);
    switch (received.kind) {
      case "unsigned":
        return refuse(401, "the signature is missing or wrong");
      case "malformed":
        return refuse(400, received.problem);
      case "stored":
        return answerText(response, 202, "accepted");
      default:
        return answerText(response, 204, "");
    }
  });
}
