/**
 * Owns reading an objects directory, of a mirror or of a holder, as data.
 *
 * Invariants:
 * 1. What is answered has the id that was asked for: every object is hashed.
 * 2. Nothing but packs and loose objects in this directory is looked at: no alternates, no replacements, no grafts.
 * 3. Work is bounded: a single object by `mostBytes`, everything that is inflated by `budget`.
 */
import { join } from "node:path";
import { inflateSync, constants as zlib } from "node:zlib";
import { asServer } from "../files/holder.js";
import { Inside, TooLarge } from "../files/inside.js";
import { applyDelta } from "./delta.js";
import { Damaged, type GitObject, type ObjectKind, objectId } from "./git-object.js";
import { costOf, Gigantic, inflateExactly, type PackEntry, PackFile } from "./pack-file.js";

/** Longest chain of deltas that git itself writes or reads. */
const longestChain = 4095;
/** Bytes of bases that are kept for the next deltas. */
const keptBytes = 48 * 1024 * 1024;

export interface StoreLimits {
  readonly mostBytes: number;
  readonly budget: number;
  /** Packs that are opened at most; each takes two descriptors. */
  readonly mostPacks: number;
}

const { POSITIVE_INFINITY } = Number;
const trusting: StoreLimits = { mostBytes: 2 ** 31, budget: POSITIVE_INFINITY, mostPacks: POSITIVE_INFINITY };

export class ObjectStore {
  /** Whether something was asked for that may be where it was not looked. */
  unread = false;
  /** Whether there are packs that are not looked at. */
  private skips = false;
  private readonly inside: Inside;
  private readonly directory: string;
  private readonly limits: StoreLimits;
  private packs: PackFile[] | undefined;
  private budget: number;
  private readonly bases = new Map<string, GitObject>();
  private basesBytes = 0;

  private readonly isServers: boolean;

  /** `directory`: byte path below `inside`, empty for itself. `isServers`: it is in a place that only the server may enter. */
  constructor(inside: Inside, directory: string, limits: StoreLimits = trusting, isServers = false) {
    this.inside = inside;
    this.directory = directory;
    this.limits = limits;
    this.isServers = isServers;
    this.budget = limits.budget;
  }

  /** The objects directory of a mirror, or of a repository of salvages. */
  static of(objects: string): ObjectStore {
    return new ObjectStore(
      asServer(() => new Inside(objects)),
      "",
      trusting,
      true,
    );
  }

  /** The objects directory of a workspace of ours. */
  static ofWorkspace(path: string): ObjectStore {
    return new ObjectStore(new Inside(join(path, ".git", "objects")), "");
  }

  close(): void {
    for (const pack of this.packs ?? []) pack.close();
    this.packs = undefined;
  }

  /** Whether there is an object of this id, unread. */
  has(id: string): boolean {
    return this.opened().some((pack) => pack.find(id) !== undefined) || this.hasLoose(id);
  }

  /** Undefined if there is none. Throws `Damaged` or `Gigantic`. */
  find(id: string): GitObject | undefined {
    let problem: unknown;
    for (const source of [() => this.fromPacks(id), () => this.fromLoose(id)]) {
      try {
        const object = source();
        if (!object) continue;
        if (objectId(object.kind, object.bytes) === id) return object;
        problem = new Damaged("content that does not have its id");
      } catch (error) {
        if (!(error instanceof Damaged) && !(error instanceof Gigantic)) throw error;
        problem = error;
      }
    }
    if (this.skips) this.unread = true;
    if (problem !== undefined) throw problem;
    return undefined;
  }

  /** The loose object of this id, even where a pack has it too. Throws `Damaged`. */
  findLoose(id: string): GitObject | undefined {
    const object = this.fromLoose(id);
    if (object && objectId(object.kind, object.bytes) !== id) throw new Damaged("content that does not have its id");
    return object;
  }

  /** Throws `Damaged` as well if there is none, or one of another kind. */
  read(id: string, kind: ObjectKind): Buffer {
    const object = this.find(id);
    if (object?.kind !== kind) throw new Damaged(`${kind} ${id} is missing`);
    return object.bytes;
  }

  private fromPacks(id: string): GitObject | undefined {
    for (const [number, pack] of this.opened().entries()) {
      const offset = pack.find(id);
      if (offset !== undefined) return this.resolve(number, pack, offset);
    }
    return undefined;
  }

  /** Follows deltas down to a whole object and applies them on the way back. */
  private resolve(number: number, pack: PackFile, offset: number): GitObject {
    const deltas: { readonly key: string; readonly bytes: Buffer }[] = [];
    let object: GitObject | undefined;
    for (let at: number | string = offset; object === undefined; ) {
      const found: number | undefined = typeof at === "number" ? at : pack.find(at);
      if (found === undefined) throw new Damaged("a delta without its base");
      const key: string = `${number}:${found}`;
      object = this.bases.get(key);
      if (object) break;
      const entry: PackEntry = pack.read(found, this.mostNow(), this.spend);
      this.spend(entry.bytes.length);
      if (entry.kind !== "delta") {
        object = entry;
        this.keep(key, object);
      } else {
        deltas.push({ key, bytes: entry.bytes });
        if (deltas.length > longestChain) throw new Damaged("a chain of deltas without an end");
        at = entry.base;
      }
    }
    for (const delta of deltas.reverse()) {
      const kind: ObjectKind = object.kind;
      object = { kind, bytes: applyDelta(object.bytes, delta.bytes, this.limits.mostBytes) };
      this.spend(object.bytes.length);
      this.keep(delta.key, object);
    }
    return object;
  }

  private keep(key: string, object: GitObject): void {
    if (object.bytes.length > keptBytes / 8) return;
    this.bases.set(key, object);
    this.basesBytes += object.bytes.length;
    for (const [oldest, { bytes }] of this.bases) {
      if (this.basesBytes <= keptBytes) return;
      this.bases.delete(oldest);
      this.basesBytes -= bytes.length;
    }
  }

  /** Bytes of an object that are looked at now. */
  private mostNow(): number {
    this.spend(0);
    return Math.min(this.limits.mostBytes, this.budget);
  }

  /** What is not looked at any more is not damaged: `unread` tells. */
  private readonly spend = (bytes: number): void => {
    this.budget -= bytes;
    if (this.budget >= 0) return;
    this.unread = true;
    throw new Damaged("more data than is looked at");
  };

  private loosePath(id: string): string {
    return this.below(`${id.slice(0, 2)}/${id.slice(2)}`);
  }

  private below(name: string): string {
    return this.directory === "" ? name : `${this.directory}/${name}`;
  }

  private hasLoose(id: string): boolean {
    return this.entering(() => this.inside.stat(this.loosePath(id))?.isFile() ?? false);
  }

  private entering<T>(work: () => T): T {
    return this.isServers ? asServer(work) : work();
  }

  private fromLoose(id: string): GitObject | undefined {
    const mostBytes = this.mostNow();
    let input: Buffer | undefined;
    try {
      const most = mostBytes + (mostBytes >>> 8) + 1024;
      input = this.entering(() => this.inside.read(this.loosePath(id), most))?.bytes;
    } catch (error) {
      if (error instanceof TooLarge) throw new Gigantic(`an object of ${error.message}`);
      throw error;
    }
    if (!input) return undefined;
    this.spend(input.length);
    const { kind, size, headerLength } = looseHeader(input);
    let bytes: Buffer;
    try {
      bytes = inflateExactly(input, headerLength + size, mostBytes + headerLength);
    } catch (error) {
      this.spend(costOf(input, size));
      if (error instanceof Gigantic) throw error;
      throw new Damaged("a loose object that cannot be inflated");
    }
    this.spend(bytes.length);
    return { kind, bytes: bytes.subarray(headerLength) };
  }

  private opened(): readonly PackFile[] {
    return this.packs ?? this.entering(() => this.open());
  }

  private open(): readonly PackFile[] {
    this.packs = [];
    const entries = this.inside.list(this.below("pack")) ?? [];
    for (const { name } of entries) {
      if (!name.endsWith(".idx")) continue;
      if (this.packs.length >= this.limits.mostPacks) this.skips = true;
      else this.add(this.packs, this.below(`pack/${name}`));
    }
    return this.packs;
  }

  private add(packs: PackFile[], name: string): void {
    try {
      const pack = PackFile.open(this.inside, name);
      if (pack) packs.push(pack);
    } catch (error) {
      if (!(error instanceof Damaged)) throw error;
      this.skips = true;
    }
  }
}

/** From the first store that has it whole. Throws `Damaged` if none has. */
export function readFrom(stores: readonly ObjectStore[], id: string, kind: ObjectKind): Buffer {
  let problem: unknown;
  for (const store of stores) {
    try {
      const object = store.find(id);
      if (object?.kind === kind) return object.bytes;
    } catch (error) {
      problem ??= error;
    }
  }
  throw problem ?? new Damaged(`${kind} ${id} is missing`);
}

/** Enough to have a header come out, behind the longest tables of codes; it inflates to a megabyte at most. */
const headInput = 1024;

/** Reads "kind size\0" from the beginning. */
function looseHeader(input: Buffer): { kind: ObjectKind; size: number; headerLength: number } {
  let text: string;
  try {
    text = inflateSync(input.subarray(0, headInput), { finishFlush: zlib.Z_SYNC_FLUSH }).toString("latin1", 0, 40);
  } catch {
    throw new Damaged("a loose object that cannot be inflated");
  }
  const match = /^(commit|tree|blob|tag) (0|[1-9][0-9]{0,14})\0/.exec(text);
  if (!match) throw new Damaged("a loose object without a header");
  return { kind: match[1] as ObjectKind, size: Number(match[2]), headerLength: match[0].length };
}
