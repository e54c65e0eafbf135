/**
 * Owns walking what is not in the trusted index: untracked files, nested repositories, files of another commit.
 *
 * Invariants:
 * 1. No symlink is followed. A directory that may not be read is opened for as long as `Modes` lives.
 * 2. Inside a nested repository the workspace's own rules ignore nothing: they are another repository's files.
 */
import { chmodSync } from "node:fs";
import { toFsPath } from "../files/byte-path.js";
import type { Inside } from "../files/inside.js";
import type { HolderRules } from "./holder-rules.js";
import { isRulesFile, rulesName } from "./ignore-rules.js";
import type { SalvagedIgnored } from "./salvaged-ignored.js";

/** Entries that are looked at at most; beyond, there is doubt. */
const mostEntries = 300_000;

/** Permissions that were changed in order to look, to be put back. */
export class Modes {
  private readonly changed: { readonly path: string; readonly mode: number }[] = [];

  /** `path`: byte path. */
  add(path: string, mode: number): void {
    chmodSync(toFsPath(path), (mode & 0o7777) | 0o700);
    this.changed.push({ path, mode: mode & 0o7777 });
  }

  restore(): void {
    for (const { path, mode } of this.changed.reverse()) chmodSync(toFsPath(path), mode);
    this.changed.length = 0;
  }
}

export class UntrackedWalk {
  /** Byte paths of regular files and symlinks. */
  readonly files: string[] = [];
  /** Byte paths of directories that hold a `.git`. */
  readonly nested = new Set<string>();
  /** Byte paths of pipes, sockets and devices. */
  readonly special: string[] = [];
  /** There was more than is looked at. */
  overflow = false;
  private readonly inside: Inside;
  private readonly rules: HolderRules;
  private readonly salvaged: SalvagedIgnored;
  private readonly tracked: ReadonlySet<string>;
  private readonly trackedDirectories = new Set<string>();
  private readonly modes: Modes;
  private looked = 0;

  /** `tracked`: byte paths that are never ignored; `salvaged`: what is work though it is ignored. */
  constructor(
    inside: Inside,
    rules: HolderRules,
    salvaged: SalvagedIgnored,
    tracked: ReadonlySet<string>,
    modes: Modes,
  ) {
    this.inside = inside;
    this.rules = rules;
    this.salvaged = salvaged;
    this.tracked = tracked;
    this.modes = modes;
    for (const path of tracked) {
      for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
        const above = path.slice(0, slash);
        if (this.trackedDirectories.has(above)) break;
        this.trackedDirectories.add(above);
      }
    }
  }

  /** `strangers`: topmost byte paths, as `compareWorkingTree` tells them. */
  walk(strangers: readonly string[]): void {
    for (const path of strangers) {
      if (isRulesFile(path)) this.rules.look(path);
      if (path.endsWith("/.git")) this.nested.add(path.slice(0, -"/.git".length));
    }
    for (const path of strangers) {
      if (path.endsWith("/.git")) continue;
      this.add(path, this.isNested(path));
    }
  }

  /** A file that the trusted index has and the commit has not: untracked, unless it is ignored. */
  offer(path: string): void {
    this.add(path, false);
  }

  private isNested(path: string): boolean {
    for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
      if (this.nested.has(path.slice(0, slash))) return true;
    }
    return false;
  }

  private add(path: string, inNested: boolean): void {
    const stat = this.inside.stat(path);
    if (!stat || this.overflow) return;
    if (++this.looked > mostEntries) {
      this.overflow = true;
      return;
    }
    if (stat.isDirectory()) {
      const isIgnored = !inNested && this.rules.ignores(path, true) && !this.salvaged.names(path, true);
      if (isIgnored && !this.trackedDirectories.has(path) && !this.salvaged.mayNameBelow(path)) return;
      if ((stat.mode & 0o500) !== 0o500) this.modes.add(`${this.inside.root}/${path}`, stat.mode);
      const entries = this.inside.list(path) ?? [];
      const isNested = !isIgnored && entries.some((entry) => entry.name === ".git");
      if (isNested) this.nested.add(path);
      if (!inNested && entries.some((entry) => entry.name === rulesName)) this.rules.look(`${path}/${rulesName}`);
      for (const { name } of entries) {
        if (name !== ".git") this.add(`${path}/${name}`, inNested || isNested);
      }
      return;
    }
    const isKept =
      inNested || this.tracked.has(path) || !this.rules.ignores(path, false) || this.salvaged.names(path, false);
    if (!isKept) return;
    if (stat.isFile() || stat.isSymbolicLink()) this.files.push(path);
    else this.special.push(path);
  }
}
