/** Owns putting together what takes the messages of forges, what follows them, and what fetches because of them. */
import type { DeliveryStore } from "../../ports/delivery-store.js";
import type { HostOwnership } from "../../ports/host-store.js";
import type { Logger } from "../../ports/logger.js";
import type { Webhooks } from "../../ports/webhooks.js";
import type { Mirrors } from "../mirrors/mirrors.js";
import { Refreshing } from "../mirrors/refreshing.js";
import type { Warming } from "../mirrors/warming.js";
import type { SubjectReports } from "../sweep/subject-reports.js";
import { Deliveries } from "./deliveries.js";
import { ForgeKeeper } from "./forge-keeper.js";

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
