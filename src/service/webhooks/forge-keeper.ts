/**
 * Owns what follows from what forges told, behind their calls: on any server, and again where one died at it.
 *
 * Invariants:
 * 1. A delivery is finished after everything that it asks for was stored; until then it comes again, after growing pauses.
 * 2. A delivery that cannot be followed stops no other one, but for those of its own lane.
 */
import { asFailure } from "../../domain/failure.js";
import { isOfProject } from "../../domain/forge-event.js";
import type { Repository } from "../../domain/repository.js";
import type { ClaimedDelivery, DeliveryStore } from "../../ports/delivery-store.js";
import type { Logger } from "../../ports/logger.js";
import type { SubjectReports } from "../sweep/subject-reports.js";
import { Looking } from "./looking.js";

export interface ForgeKeeperDependencies {
  readonly store: DeliveryStore;
  readonly reports: SubjectReports;
  readonly log: Logger;
  /** Called when mirrors are to be fetched. */
  readonly onWanted: () => void;
}

const beatMs = 1_000;
const forgetEveryBeats = 60;
/** How long a delivery is known, so that it is not followed twice. */
const retentionMs = 7 * 24 * 3_600_000;
const claimedAtOnce = 100;
const followedAtOnce = 6;

/** What the deliveries of one claim have in common. */
interface Batch {
  readonly repositories: Map<string, Promise<readonly Repository[]>>;
  /** Of repositories whose mirrors are to be fetched. */
  readonly pushed: Set<number>;
}

export class ForgeKeeper {
  readonly #deps: ForgeKeeperDependencies;
  readonly #looking: Looking;
  #timer: NodeJS.Timeout | undefined;
  #beats = 0;

  constructor(deps: ForgeKeeperDependencies) {
    this.#deps = deps;
    const failed = (error: unknown) => deps.log.warn({ err: error }, "could not follow what forges told");
    this.#looking = new Looking(() => this.#followAll(), failed);
  }

  start(): void {
    this.#timer = setInterval(() => this.#beat(), beatMs);
    this.look();
  }

  /** Something was stored. */
  look(): void {
    if (this.#timer) this.#looking.look();
  }

  /** What has been claimed is followed or comes again. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#looking.settled();
  }

  #beat(): void {
    const { store, log } = this.#deps;
    this.look();
    this.#beats++;
    if (this.#beats % forgetEveryBeats !== 0) return;
    store.forget(retentionMs).catch((error) => log.warn({ err: error }, "could not forget what forges told long ago"));
  }

  async #followAll(): Promise<void> {
    const { store, onWanted } = this.#deps;
    while (this.#timer) {
      const claimed = await store.claim(claimedAtOnce);
      if (claimed.length === 0) return;
      const batch: Batch = { repositories: new Map(), pushed: new Set() };
      const done = await this.#followed(claimed, batch);
      if (batch.pushed.size > 0) {
        await store.wantRefresh([...batch.pushed]);
        onWanted();
      }
      // invariant 1
      await store.finish(done);
    }
  }

  /** Those of one claim are of different lanes: some of them at a time. Answers which ones are done. */
  async #followed(claimed: readonly ClaimedDelivery[], batch: Batch): Promise<readonly bigint[]> {
    const left = [...claimed];
    const done: bigint[] = [];
    const follower = async () => {
      // what is left when the server stops comes again, here or on another one
      for (let next = left.shift(); next && this.#timer; next = left.shift()) {
        if (await this.#follow(next, batch)) done.push(next.id);
      }
    };
    await Promise.all(Array.from({ length: followedAtOnce }, follower));
    return done;
  }

  async #follow(delivery: ClaimedDelivery, batch: Batch): Promise<boolean> {
    const { store, log } = this.#deps;
    try {
      await this.#obey(delivery, batch);
      return true;
    } catch (error) {
      const { forge, event, attempt } = delivery;
      log.warn({ err: error, forge, event, attempt }, "could not follow what a forge told");
      await store.postpone(delivery.id, asFailure(error).message);
      return false;
    }
  }

  async #obey(delivery: ClaimedDelivery, batch: Batch): Promise<void> {
    const { reports } = this.#deps;
    const { event } = delivery;
    if (event.kind === "subject") {
      for (const url of delivery.subjectUrls) await reports.note(url, event.state);
      return;
    }
    for (const { id, name } of await this.#repositories(delivery, batch)) {
      // the branch is gone in the mirror as well
      batch.pushed.add(id);
      if (event.kind === "branch-deleted") await reports.branchDeleted(name, event.branch);
    }
  }

  #repositories({ forgeUrl, event }: ClaimedDelivery, { repositories }: Batch): Promise<readonly Repository[]> {
    const key = `${forgeUrl} ${event.project}`;
    const known = repositories.get(key);
    if (known) return known;
    const found = this.#deps.store
      .repositoriesWith(event.project)
      .then((all) => all.filter(({ url }) => isOfProject(url, forgeUrl, event.project)));
    repositories.set(key, found);
    return found;
  }
}
