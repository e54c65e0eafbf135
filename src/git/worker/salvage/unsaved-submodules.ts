/**
 * Owns which of a workspace's submodules hold work: files that differ from what was placed, untracked files, and git
 * directories that name what their upstream's mirror lacks.
 *
 * Invariants:
 * 1. A file is passed over only if its stat is the trusted one, or its bytes are the index's.
 * 2. The ignore rules of a submodule are those of the commit that was placed. A deletion alone is no work.
 */
import { join } from "node:path";
import { toBytePath } from "../files/byte-path.js";
import type { Inside } from "../files/inside.js";
import { IndexFile } from "../index/index-file.js";
import { treeOfIndex } from "../index/index-tree.js";
import type { KnownModule } from "../index/trusted-modules.js";
import { BaseFiles } from "../objects/base-files.js";
import { Damaged, parseCommit } from "../objects/git-object.js";
import { ObjectStore } from "../objects/object-store.js";
import { compareWorkingTree, restoreModes } from "../workspace/working-tree.js";
import { CompareBudget, currentEntry } from "./changed-files.js";
import { HolderRules } from "./holder-rules.js";
import { IgnoreRules, isRulesFile } from "./ignore-rules.js";
import type { NestedRepository } from "./nested-repositories.js";
import type { SalvagedIgnored } from "./salvaged-ignored.js";
import { isLfsContent, unsavedLfs } from "./unsaved-lfs.js";
import { type Modes, UntrackedWalk } from "./untracked.js";

interface Place {
  readonly module: KnownModule;
  /** Byte path. */
  readonly path: string;
}

export class UnsavedSubmodules {
  /** Byte paths of files of the commits that were changed. */
  readonly changed: string[] = [];
  readonly untracked: string[] = [];
  readonly special: string[] = [];
  /** Byte paths of other directories within that hold a `.git`. */
  readonly nested: string[] = [];
  /** There is more than is looked at. */
  overflow = false;
  /** What of the workspace's strangers is none of a submodule's files. */
  readonly strangers: readonly string[];
  private readonly places: readonly Place[];
  private readonly restores: (() => void)[] = [];
  private readonly budget = new CompareBudget();

  constructor(
    inside: Inside,
    modules: readonly KnownModule[],
    strangers: readonly string[],
    salvaged: SalvagedIgnored,
    modes: Modes,
  ) {
    this.places = modules
      .map((module) => ({ module, path: toBytePath(module.path) }))
      .filter(({ path }) => inside.isDirectory(path))
      .sort((a, b) => a.path.length - b.path.length);
    const pointers = new Set(this.places.map(({ path }) => `${path}/.git`));
    const isOwn = (path: string, below: string): boolean => path.startsWith(`${below}/`) && !pointers.has(path);
    this.strangers = strangers.filter((path) => !this.places.some((place) => isOwn(path, place.path)));
    for (const place of this.places) this.look(inside, place, pointers, salvaged, modes);
    // the pointers of nested ones are strangers of submodules, not of the workspace
    for (const pointer of pointers) {
      if (inside.stat(pointer) && !strangers.includes(pointer)) this.nested.push(pointer.slice(0, -"/.git".length));
    }
  }

  /** Puts permissions back. */
  restore(): void {
    for (const restore of this.restores) restore();
  }

  private look(
    inside: Inside,
    { module, path }: Place,
    pointers: ReadonlySet<string>,
    salvaged: SalvagedIgnored,
    modes: Modes,
  ): void {
    const place = Buffer.from(`${inside.root}/${path}`, "latin1").toString("utf8");
    const index = new IndexFile(module.trusted.bytes);
    const comparison = compareWorkingTree(place, index, module.trusted.writtenMs);
    this.restores.push(() => restoreModes(place, comparison.oddDirectories));
    const store = ObjectStore.of(join(module.mirror, "objects"));
    try {
      for (const position of comparison.altered) {
        const file = `${path}/${index.paths[position]}`;
        const now = currentEntry(inside, file, this.budget);
        const id = index.id(position);
        const isSame = now?.id === id || isLfsContent(inside, file, store.read(id, "blob"), module.mirror);
        if (now && (!isSame || now.mode !== index.mode(position))) this.changed.push(file);
      }
    } finally {
      store.close();
    }
    this.untracked.push(...unsavedLfs(inside, toBytePath(module.git), module.mirror));
    const rules = new HolderRules(inside, rulesOf(module, path, index));
    for (const position of [...comparison.altered, ...comparison.missing]) {
      const file = `${path}/${index.paths[position]}`;
      if (isRulesFile(file)) rules.look(file);
    }
    const walk = new UntrackedWalk(inside, rules, salvaged, new Set(), modes);
    const deeper = this.places.filter((other) => other.path.startsWith(`${path}/`));
    const strangers = comparison.strangers.map((name) => `${path}/${name}`);
    walk.walk(
      strangers.filter((name) => !pointers.has(name) && !deeper.some((other) => name.startsWith(`${other.path}/`))),
    );
    this.untracked.push(...walk.files);
    this.special.push(...walk.special);
    this.nested.push(...walk.nested);
    this.overflow ||= walk.overflow;
  }

  /** Without those that hold nothing of their own; each of the others knows the mirror of its upstream. */
  withWork(nested: readonly NestedRepository[]): NestedRepository[] {
    return nested.flatMap((repository) => {
      const place = this.places.find(({ module }) => `${toBytePath(module.git)}/objects` === repository.objects);
      if (!place) return [repository];
      return holdsNothing(repository, place.module) ? [] : [{ ...repository, mirror: place.module.mirror }];
    });
  }
}

function rulesOf({ mirror, commit }: KnownModule, path: string, index: IndexFile): IgnoreRules {
  const store = ObjectStore.of(join(mirror, "objects"));
  try {
    const { tree } = parseCommit(store.read(commit, "commit"));
    const files = new BaseFiles(index, tree, tree, (id) => store.read(id, "tree"));
    return IgnoreRules.of(files, (id) => store.read(id, "blob"), `${path}/`);
  } finally {
    store.close();
  }
}

function holdsNothing({ git, problem }: NestedRepository, { mirror, trusted }: KnownModule): boolean {
  if (!git || problem !== undefined || git.brokenIndex || git.unread) return false;
  const store = ObjectStore.of(join(mirror, "objects"));
  try {
    if (git.tips.some((tip) => tip.kind !== "remote" && !store.has(tip.id))) return false;
    if (!git.index) return true;
    const staged = attempt(() => treeOfIndex(git.index as IndexFile));
    if (staged === undefined) return false;
    if (staged === treeOfIndex(new IndexFile(trusted.bytes))) return true;
    const head = git.tips.find((tip) => tip.kind === "head")?.id;
    return head !== undefined && staged === attempt(() => parseCommit(store.read(head, "commit")).tree);
  } finally {
    store.close();
  }
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof Damaged) return undefined;
    throw error;
  }
}
