/**
 * Owns copying what a tip reaches and the mirror lacks: commits, trees, blobs, tags.
 *
 * Invariants:
 * 1. A tip is copied whole or not at all: what the mirror has is whole, everything else is read and hashed.
 * 2. Limits are kept while copying, not after.
 */
import { Damaged, type GitObject, type ObjectKind, parseCommit, parseTag, referencesOf } from "./git-object.js";
import type { ObjectStore } from "./object-store.js";
import { Gigantic } from "./pack-file.js";
import type { PackWriter } from "./pack-writer.js";

export interface SalvageLimits {
  readonly fileBytes: number;
  readonly totalBytes: number;
}

/** Work that is beyond the limits. The message says it in words. */
export class Beyond extends Error {
  override readonly name = "Beyond";
}

/** A pack that keeps to limits. */
export class LimitedPack {
  readonly pack: PackWriter;
  private readonly limits: SalvageLimits;

  constructor(pack: PackWriter, limits: SalvageLimits) {
    this.pack = pack;
    this.limits = limits;
  }

  add(object: GitObject, what: string): string {
    this.check(object.bytes.length, what);
    return this.pack.add(object.kind, object.bytes);
  }

  /** Throws `Beyond` if `bytes` more would be too much. */
  check(bytes: number, what: string): void {
    const { fileBytes } = this.limits;
    if (bytes > fileBytes) throw new Beyond(`${what} has ${bytes} bytes, more than the limit of ${fileBytes}`);
    this.checkTotal(bytes);
  }

  checkTotal(bytes: number): void {
    const { totalBytes } = this.limits;
    if (this.pack.bytes + bytes > totalBytes)
      throw new Beyond(`the work has more than the limit of ${totalBytes} bytes`);
  }
}

/** Ids of objects that were copied with everything they reach. Shared by histories that copy into one pack. */
export class Copied {
  readonly whole = new Set<string>();
  readonly commits = new Set<string>();

  forget(ids: readonly string[]): void {
    for (const id of ids) {
      this.whole.delete(id);
      this.commits.delete(id);
    }
  }
}

interface Frame {
  readonly id: string;
  readonly kind: ObjectKind;
  readonly references: readonly string[];
  next: number;
}

export class History {
  private readonly mirror: ObjectStore;
  private readonly objects: ObjectStore;
  private readonly target: LimitedPack;
  private readonly copied: Copied;
  private added: string[] = [];

  constructor(mirror: ObjectStore, objects: ObjectStore, target: LimitedPack, copied: Copied) {
    this.mirror = mirror;
    this.objects = objects;
    this.target = target;
    this.copied = copied;
  }

  has(id: string): boolean {
    return this.copied.whole.has(id) || this.mirror.has(id);
  }

  /** Copies what `id` reaches. Throws `Damaged` or `Beyond`, and has copied nothing then. */
  save(id: string): void {
    if (this.has(id)) return;
    const { pack } = this.target;
    const mark = pack.mark;
    this.added = [];
    try {
      this.copy(id);
    } catch (error) {
      pack.rollBack(mark);
      this.copied.forget(this.added);
      throw error instanceof Gigantic
        ? new Beyond(`${error.message} in the history of ${id} is more than is taken`)
        : error;
    }
  }

  /** Reads an object of the holder's, or one that the mirror has. Throws `Damaged` if it is not there. */
  read(id: string): GitObject {
    const object = this.mirror.find(id) ?? this.objects.find(id);
    if (!object) throw new Damaged("it is missing");
    return object;
  }

  private copy(tip: string): void {
    const stack: Frame[] = [this.enter(tip)];
    for (let frame = stack.at(-1); frame !== undefined; frame = stack.at(-1)) {
      const reference = frame.references[frame.next++];
      if (reference === undefined) {
        this.copied.whole.add(frame.id);
        if (frame.kind === "commit") this.copied.commits.add(frame.id);
        this.added.push(frame.id);
        stack.pop();
      } else if (!this.has(reference)) stack.push(this.enter(reference));
    }
  }

  private enter(id: string): Frame {
    let object: GitObject | undefined;
    try {
      object = this.objects.find(id);
    } catch (error) {
      if (error instanceof Damaged) throw new Damaged(`object ${id} is damaged: ${error.message}`);
      throw error;
    }
    if (!object) throw new Damaged(`object ${id} is missing`);
    const references = referencesOf(object);
    if (object.kind === "commit") this.expectCommits(parseCommit(object.bytes).parents, id);
    this.target.add(object, `object ${id}`);
    return { id, kind: object.kind, references, next: 0 };
  }

  /** A history that leads to something else would break whoever walks it. */
  private expectCommits(ids: readonly string[], child: string): void {
    for (const id of ids) {
      if (this.copied.whole.has(id)) continue;
      if (this.read(id).kind !== "commit") throw new Damaged(`object ${child} is damaged: its parent is no commit`);
    }
  }
}

/** Who writes the commits of a salvage, at a time that is the same whenever it is done again. */
export function signature(time: number): string {
  return `Leasehold <leasehold@localhost> ${time} +0000`;
}

/** The bytes of a commit of ours; `message` as bytes. */
export function formatCommit(tree: string, parents: readonly string[], time: number, message: string): Buffer {
  const lines = [`tree ${tree}`, ...parents.map((parent) => `parent ${parent}`)];
  const who = signature(time);
  return Buffer.from(`${lines.join("\n")}\nauthor ${who}\ncommitter ${who}\n\n${message}`, "latin1");
}

/**
 * The id of a commit that keeps `id` alive: itself if it is one. A tag's bytes become the message of a commit, a tree
 * or blob its files. `id` must have been saved.
 */
export function anchor(history: History, target: LimitedPack, id: string, time: number): string {
  const object = history.read(id);
  const add = (kind: ObjectKind, bytes: Buffer): string => target.add({ kind, bytes }, "a commit of the salvage");
  switch (object.kind) {
    case "commit":
      return id;
    case "tag": {
      const parent = anchor(history, target, parseTag(object.bytes).id, time);
      const message = `tag ${id}\n\n${object.bytes.toString("latin1")}`;
      return add("commit", formatCommit(add("tree", Buffer.alloc(0)), [parent], time, message));
    }
    case "tree":
      return add("commit", formatCommit(id, [], time, `tree ${id}\n`));
    case "blob": {
      const tree = Buffer.concat([Buffer.from("100644 object\0", "latin1"), Buffer.from(id, "hex")]);
      return add("commit", formatCommit(add("tree", tree), [], time, `blob ${id}\n`));
    }
  }
}
