/**
 * Owns how what a forge sends by itself is read.
 *
 * Contract:
 * 1. A message is looked into only after its signature was found right; comparing takes equally long whatever is wrong.
 * 2. No answer has a secret or a part of the message other than what its event says.
 */
import type { ForgeEvent } from "../domain/forge-event.js";
import type { Forge } from "../domain/subject.js";

/** A header by its name in lower case; undefined where there is none, or several. */
export type HeaderReader = (name: string) => string | undefined;

export type WebhookReading =
  /** The signature is missing or wrong. */
  | { readonly kind: "unsigned" }
  /** Signed, and yet not what its kind of message has to be; `problem` says why. */
  | { readonly kind: "malformed"; readonly problem: string }
  /** Nothing that anything is done for. */
  | { readonly kind: "ignored" }
  | {
      readonly kind: "event";
      readonly event: ForgeEvent;
      /** The forge's own name of the delivery, the same when it is sent again. */
      readonly deliveryId: string;
      /** Digest of what was signed, where the delivery's name was not; otherwise empty. */
      readonly digest: string;
    };

export interface Webhooks {
  /** The forge of that name, if it may send anything. */
  sender(name: string): Forge | undefined;
  /** Fails if the secret cannot be read now. */
  read(forge: Forge, header: HeaderReader, body: Uint8Array): Promise<WebhookReading>;
}
