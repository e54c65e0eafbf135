/** Owns putting together what takes the messages of forges, what follows them, and what fetches because of them. */
import type { DeliveryStore } from "../ports/delivery-store.js";
import type { HostOwnership } from "../ports/host-store.js";
import type { Logger } from "../ports/logger.js";
import type { Webhooks } from "../ports/webhooks.js";
import { Deliveries } from "./deliveries.js";
import { ForgeKeeper } from "./forge-keeper.js";
import type { Mirrors } from "./mirrors.js";
import { Refreshing } from "./refreshing.js";
import type { SubjectReports } from "./subject-reports.js";
import type { Warming } from "./warming.js";

export interface ForgeWorkDependencies {
  readonly webhooks: Webhooks;
  readonly store: DeliveryStore;
  readonly reports: SubjectReports;
  readonly mirrors: Pick<Mirrors, "fetch">;
  readonly warming: Warming;
  readonly ownership: HostOwnership;
  readonly log: Logger;
}

export class ForgeWork {
  readonly deliveries: Deliveries;
  readonly #keeper: ForgeKeeper;
  readonly #refreshing: Refreshing;

  constructor({ webhooks, store, reports, mirrors, warming, ownership, log }: ForgeWorkDependencies) {
    this.#refreshing = new Refreshing({ store, mirrors, warming, ownership, log });
    this.#keeper = new ForgeKeeper({ store, reports, log, onWanted: () => this.#refreshing.look() });
    this.deliveries = new Deliveries({ webhooks, store, log, onStored: () => this.#keeper.look() });
  }

  start(): void {
    this.#keeper.start();
    this.#refreshing.start();
  }

  async stop(): Promise<void> {
    await Promise.all([this.#keeper.stop(), this.#refreshing.stop()]);
  }
}

/** Says what would be done; to stand in where nothing drops sessions yet. */
export function toldOnly(log: Logger): SubjectReports {
  return {
    note: async (url, state) => log.info({ url, state }, "a forge says what became of a subject"),
    branchDeleted: async (repository, branch) => log.info({ repository, branch }, "a forge says that a branch is gone"),
  };
}
