/**
 * Owns which files are ignored by a commit's `.gitignore` files and also by those that are in the workspace.
 *
 * Invariants:
 * 1. A holder's rules never hide anything: what the commit does not ignore is not ignored.
 * 2. What git itself would show as untracked in the workspace is not ignored either: rules that are no more, or that
 *    were taken back, ignore nothing.
 */

import { type Inside, TooLarge } from "../files/inside.js";
import { type IgnoreRules, rulesName } from "./ignore-rules.js";

const mostBytes = 1024 ** 2;
/** Lines of all files; each may be tried on every file. Those of a file that has more are not believed. */
const mostLines = 20_000;

export class HolderRules {
  private readonly inside: Inside;
  private readonly commit: IgnoreRules;
  private own: IgnoreRules | undefined;
  private lines = 0;

  constructor(inside: Inside, commit: IgnoreRules) {
    this.inside = inside;
    this.commit = commit;
  }

  /** `path`: the byte path of a `.gitignore` that may differ from the commit's. Before anything below it is asked for. */
  look(path: string): void {
    const text = this.read(path);
    if (text === undefined) return;
    this.lines += text.split("\n").length;
    if (this.lines > mostLines) return;
    this.own ??= this.commit.copy();
    this.own.add(path.slice(0, Math.max(path.length - rulesName.length - 1, 0)), text);
  }

  /** `path`: bytes, relative to the top. */
  ignores(path: string, isDirectory: boolean): boolean {
    return this.commit.ignores(path, isDirectory) && (this.own?.ignores(path, isDirectory) ?? true);
  }

  /** Empty if there is no regular file, as for git; undefined if it cannot be known. */
  private read(path: string): string | undefined {
    try {
      return this.inside.read(path, mostBytes)?.bytes.toString("latin1") ?? "";
    } catch (error) {
      if (error instanceof TooLarge || (error as NodeJS.ErrnoException).code === "EACCES") return undefined;
      throw error;
    }
  }
}
