/** Implements the port `Webhooks` for the four kinds of forges. */
import { createHash } from "node:crypto";
import type { ForgeEvent } from "../domain/forge-event.js";
import type { Forge } from "../domain/subject.js";
import type { HeaderReader, WebhookReading, Webhooks } from "../ports/webhooks.js";
import { githubEvent } from "./github-events.js";
import { gitlabEvent } from "./gitlab-events.js";
import type { ForgeEntry } from "./http-forges.js";
import { MalformedMessage, parseMessage } from "./message.js";
import { SecretFile } from "./secret.js";
import { isSigned } from "./signature.js";

/** The forge's names of the kind of message, and of the delivery; the first that is there counts. */
const headers = {
  forgejo: { event: ["x-forgejo-event", "x-gitea-event"], delivery: ["x-forgejo-delivery", "x-gitea-delivery"] },
  gitea: { event: ["x-gitea-event"], delivery: ["x-gitea-delivery"] },
  github: { event: ["x-github-event"], delivery: ["x-github-delivery"] },
  // messages of GitLab say themselves of what kind they are
  gitlab: { event: [], delivery: ["idempotency-key"] },
} as const;

export class SignedWebhooks implements Webhooks {
  readonly #senders: ReadonlyMap<string, { readonly forge: Forge; readonly secret: SecretFile }>;

  constructor(entries: readonly ForgeEntry[]) {
    this.#senders = new Map(
      entries.flatMap(({ name, kind, url, webhookSecretFile }) =>
        webhookSecretFile === undefined
          ? []
          : [[name, { forge: { name, kind, url }, secret: new SecretFile(webhookSecretFile) }] as const],
      ),
    );
  }

  sender(name: string): Forge | undefined {
    return this.#senders.get(name)?.forge;
  }

  async read({ name, kind }: Forge, header: HeaderReader, body: Uint8Array): Promise<WebhookReading> {
    const secret = await this.#senders.get(name)?.secret.read();
    if (secret === undefined || !isSigned(kind, header, body, secret)) return { kind: "unsigned" };
    const first = (names: readonly string[]) => names.map(header).find((value) => value !== undefined) ?? "";
    try {
      const event = readEvent(kind, first(headers[kind].event), body);
      if (!event) return { kind: "ignored" };
      const digest = createHash("sha256").update(body).digest("hex");
      const named = first(headers[kind].delivery);
      const deliveryId = isName(named) ? named : `${eventOf(header)}${digest}`;
      // the name is not signed; for a push that does not matter, and two of the same words are two pushes
      const isGuarded = kind !== "gitlab" && event.kind !== "push";
      return { kind: "event", event, deliveryId, digest: isGuarded ? digest : "" };
    } catch (error) {
      if (error instanceof MalformedMessage) return { kind: "malformed", problem: error.message };
      throw error;
    }
  }
}

function isName(text: string): boolean {
  return /^[\w.:-]{1,128}$/.test(text);
}

/** GitLab before 17.4 names the event, which has one name for all that it led to. */
function eventOf(header: HeaderReader): string {
  const named = header("x-gitlab-event-uuid") ?? "";
  return isName(named) && named.length <= 60 ? `${named}.` : "";
}

function readEvent(kind: Forge["kind"], name: string, body: Uint8Array): ForgeEvent | undefined {
  if (kind === "gitlab") return gitlabEvent(parseMessage(body));
  return githubEvent(name, parseMessage(body));
}
