/**
 * Owns when what is measured: one place after the other, behind everything else.
 *
 * A size is of the last ten minutes, or of the end of the last lease; measuring itself takes its time, and a place that
 * takes long to measure waits ten times as long for its next turn.
 *
 * Invariant: nobody waits for a measurement, and one that fails is tried again in its turn.
 */
import type { PlaceSize } from "../../domain/usage.js";
import type { GitEngine } from "../../ports/git-engine.js";
import type { Logger } from "../../ports/logger.js";
import type { DueSize, UsageStore } from "../../ports/usage-store.js";
import type { Places } from "../places.js";
import type { Disk } from "./disk.js";

export interface MeasuringDependencies {
  readonly usage: UsageStore;
  readonly git: GitEngine;
  readonly disk: Disk;
  readonly places: Places;
  readonly log: Logger;
}

const freshMs = 10 * 60_000;
/** What has just changed may change again. */
const settleMs = 5_000;
const patience = 10;

type Place = Omit<PlaceSize, "bytes"> & { readonly path: string; readonly shared: readonly string[] };

export class Measuring {
  readonly #deps: MeasuringDependencies;
  readonly #next = new Map<string, number>();
  #running: Promise<void> | undefined;
  /** Until then nothing is asked for: nothing was due. */
  #askAgain = 0;

  constructor(deps: MeasuringDependencies) {
    this.#deps = deps;
  }

  /** Goes on with what is due, behind. */
  look(): void {
    this.#running ??= this.#measureDue()
      .catch((error) => this.#deps.log.warn({ err: error }, "could not measure what is on the disk"))
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #measureDue(): Promise<void> {
    const { usage, disk } = this.#deps;
    const due = performance.now() < this.#askAgain ? [] : await usage.due(settleMs, freshMs, 8);
    if (due.length === 0 && performance.now() >= this.#askAgain) this.#askAgain = performance.now() + settleMs;
    for (const one of due) await this.#measureWorkspace(one);
    const places = await this.#duePlaces();
    for (const place of places) await this.#measurePlace(place);
    if (due.length + places.length > 0 || this.#next.size === 0) disk.expect(await usage.largest());
  }

  async #measureWorkspace(due: DueSize): Promise<void> {
    const { git, usage, places } = this.#deps;
    const shared = [places.mirror({ name: due.repository }), places.submodules];
    await usage.storeSize(due, await git.measure({ path: due.path, shared, holders: true }));
  }

  async #measurePlace({ kind, repository, path, shared }: Place): Promise<void> {
    const { disk, log } = this.#deps;
    const begin = performance.now();
    if (!disk.low) {
      try {
        await this.#maintain(kind, repository, path);
      } catch (error) {
        log.warn({ err: error, kind, repository }, "no maintenance");
      }
    }
    const bytes = await this.#deps.git.measure({ path, shared, holders: false });
    await this.#deps.usage.storePlace({ kind, repository, bytes });
    const now = performance.now();
    this.#next.set(`${kind} ${repository}`, now + Math.max(freshMs, (now - begin) * patience));
  }

  /** Not while the disk is low: for a moment it takes more. */
  async #maintain(kind: PlaceSize["kind"], repository: string, path: string): Promise<void> {
    const { git, disk, usage, places, log } = this.#deps;
    const tell = (packs: number, done: string): void => void (packs > 0 && log.info({ repository, packs }, done));
    if (kind === "MIRROR") {
      const keep = await usage.commits(repository);
      const roomBytes = disk.room.freeBytes - disk.room.lowBytes;
      const { packs, rewritten } = await git.maintainMirror({ path, prune: true, keep, roomBytes });
      tell(
        packs,
        rewritten ? "the mirror was made anew as one pack" : "small packs of the mirror were merged into one",
      );
    } else if (kind === "SUBMODULES") {
      tell(await git.maintainModules(path), "small packs of submodules' mirrors were merged");
    } else if (kind === "SALVAGES") {
      const mirror = places.mirror({ name: repository });
      const packs = await git.maintainSalvages({ salvages: path, mirror, modules: places.submodules });
      tell(packs, "packs that no salvage needs were removed");
    }
  }

  async #duePlaces(): Promise<readonly Place[]> {
    const { usage, places } = this.#deps;
    const isDue = ({ kind, repository }: Place) => (this.#next.get(`${kind} ${repository}`) ?? 0) <= performance.now();
    const fixed = [this.#place("TRASH", "", places.trash), this.#place("SUBMODULES", "", places.submodules)];
    const indexes = this.#place("OTHER", "", places.indexes);
    // which repositories there are is asked for at most every `settleMs`
    if ((this.#next.get("names") ?? 0) > performance.now()) return [...fixed, indexes].filter(isDue);
    this.#next.set("names", performance.now() + settleMs);
    const found = await usage.places();
    return [
      ...found.mirrors.map((name) => this.#place("MIRROR", name, places.mirror({ name }))),
      ...found.salvages.map((name) =>
        this.#place("SALVAGES", name, places.salvages({ name }), places.mirror({ name })),
      ),
      ...found.mirrors.map((name) => this.#place("DEPENDENCIES", name, places.dependenciesOf({ name }))),
      ...[...fixed, indexes],
    ].filter(isDue);
  }

  #place(kind: Place["kind"], repository: string, path: string, ...shared: string[]): Place {
    return { kind, repository, path, shared };
  }
}
