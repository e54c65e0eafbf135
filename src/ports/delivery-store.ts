/**
 * The port to what forges have sent and what is still to be done for it. Contract as in lease-store.ts, and
 * 1. A delivery is stored once: its name, and the digest of what was signed, are remembered for as long as its row.
 * 2. Of the deliveries of one lane, none is claimed while an older one is not finished.
 * 3. What was claimed by a server that died is due again at once; what failed, after a pause that grows.
 */
import type { ForgeEvent } from "../domain/forge-event.js";
import type { Repository } from "../domain/repository.js";

/** An event with what is needed to work on it where its forge is not configured. */
export interface Delivery {
  /** Name of the configured forge. */
  readonly forge: string;
  readonly deliveryId: string;
  /** Empty: the name alone tells repetitions. */
  readonly digest: string;
  /** Deliveries of one lane are worked on in their order; empty: whenever. */
  readonly lane: string;
  readonly forgeUrl: string;
  /** Of a subject: all URLs that it may have in sessions. */
  readonly subjectUrls: readonly string[];
  readonly event: ForgeEvent;
}

export interface ClaimedDelivery extends Delivery {
  readonly id: bigint;
  /** How often it was tried, this time included. */
  readonly attempt: number;
}

/** A mirror of the owned host that is to be fetched because its forge told of a push. */
export interface WantedRefresh {
  readonly repository: Repository;
  /** Tells this wish from a later one. */
  readonly mark: string;
  readonly attempt: number;
}

export interface DeliveryStore {
  /** Answers for each whether it is new. Resolves after all were committed. */
  store(deliveries: readonly Delivery[]): Promise<readonly boolean[]>;
  claim(limit: number): Promise<readonly ClaimedDelivery[]>;
  finish(ids: readonly bigint[]): Promise<void>;
  /** To be tried again later. */
  postpone(id: bigint, problem: string): Promise<void>;
  /** Repositories whose URL has `text` in it, whatever its case, and that are not being removed. */
  repositoriesWith(text: string): Promise<readonly Repository[]>;
  /** Every host that has a mirror of one of them is to fetch it. */
  wantRefresh(repositoryIds: readonly number[]): Promise<void>;
  dueRefreshes(limit: number): Promise<readonly WantedRefresh[]>;
  /** The mirror was fetched since; a wish that came later stays. */
  refreshed(refresh: WantedRefresh): Promise<void>;
  /** The fetch failed: later again, and given up after some attempts. */
  postponeRefresh(refresh: WantedRefresh): Promise<void>;
  /** Forgets what is older. Any server. */
  forget(retentionMs: number): Promise<void>;
}
