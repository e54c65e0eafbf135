/**
 * Owns what happens to a message of a forge until it is answered: its signature is judged, its event stored.
 *
 * Invariants:
 * 1. `stored` is answered after the event was committed; nothing is done for it here.
 * 2. Messages of one moment become one statement; one statement at a time.
 */
import { type ForgeEvent, subjectUrls } from "../../domain/forge-event.js";
import type { Forge } from "../../domain/subject.js";
import type { Delivery, DeliveryStore } from "../../ports/delivery-store.js";
import type { Logger } from "../../ports/logger.js";
import type { HeaderReader, Webhooks } from "../../ports/webhooks.js";

export type Received =
  | { readonly kind: "unsigned" | "ignored" | "stored" | "repeated" }
  | { readonly kind: "malformed"; readonly problem: string };

export interface DeliveriesDependencies {
  readonly webhooks: Webhooks;
  readonly store: DeliveryStore;
  readonly log: Logger;
  /** Called when something was stored. */
  readonly onStored: () => void;
}

interface Waiting {
  readonly delivery: Delivery;
  readonly resolve: (isNew: boolean) => void;
  readonly reject: (error: unknown) => void;
}

const maxBatch = 500;

export class Deliveries {
  readonly #deps: DeliveriesDependencies;
  #waiting: Waiting[] = [];
  #isStoring = false;

  constructor(deps: DeliveriesDependencies) {
    this.#deps = deps;
  }

  /** The forge of that name, if it may send anything. */
  sender(name: string): Forge | undefined {
    return this.#deps.webhooks.sender(name);
  }

  /** Fails if the store or the secret cannot be reached: nothing was stored then, as far as is known. */
  async receive(forge: Forge, header: HeaderReader, body: Uint8Array): Promise<Received> {
    const { webhooks, log, onStored } = this.#deps;
    const reading = await webhooks.read(forge, header, body);
    if (reading.kind !== "event") {
      const problem = reading.kind === "malformed" ? { problem: reading.problem } : {};
      if (reading.kind !== "ignored")
        log.warn({ forge: forge.name, ...problem }, `a message of a forge is ${reading.kind}`);
      return reading;
    }
    const { event, deliveryId, digest } = reading;
    const isNew = await this.#store({
      ...{ forge: forge.name, deliveryId, digest, event },
      lane: laneOf(forge, event),
      forgeUrl: forge.url,
      subjectUrls: event.kind === "subject" ? subjectUrls(forge, event) : [],
    });
    log.info({ forge: forge.name, delivery: deliveryId, event, repeated: !isNew }, "a forge tells of an event");
    if (isNew) onStored();
    return { kind: isNew ? "stored" : "repeated" };
  }

  #store(delivery: Delivery): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ delivery, resolve, reject });
      if (this.#isStoring) return;
      this.#isStoring = true;
      // those that have arrived already come along
      setImmediate(() => void this.#flush());
    });
  }

  /** Invariant 2. */
  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, maxBatch);
      try {
        const news = await this.#deps.store.store(batch.map(({ delivery }) => delivery));
        for (const [index, { resolve }] of batch.entries()) resolve(news[index] === true);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#isStoring = false;
  }
}

/** What is said of one subject is worked on in its order: the last word counts. */
function laneOf({ name }: Forge, event: ForgeEvent): string {
  return event.kind === "subject" ? `${name} ${event.project} ${event.subject} ${event.number}` : "";
}
