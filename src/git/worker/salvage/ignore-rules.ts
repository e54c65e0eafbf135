/**
 * Owns which files a commit's own `.gitignore` files call ignored (gitignore(5)).
 *
 * Here and not by libgit2, which drops a rule such as `!keep.log` unless the same file ignores it above: it would
 * call work ignored that git does not.
 *
 * Invariants:
 * 1. Only the commit's rules count here. A `.gitignore` that a holder made or changed is itself work, and must not hide
 *    other work (holder-rules.ts says what it may).
 * 2. Nothing below an ignored directory can be taken back.
 */
import type { BaseFiles } from "../objects/base-files.js";
import { compileGlob, type Matcher } from "./wildmatch.js";

/** How files with rules are called. */
export const rulesName = ".gitignore";
const kindMask = 0o170000;
const regularFile = 0o100000;

export interface Rule {
  readonly matches: Matcher;
  readonly negated: boolean;
  readonly directoriesOnly: boolean;
  /** Matched against the path from the rules' directory, not the last name alone. */
  readonly anchored: boolean;
}

/** The rules of one directory, the last one first. */
interface Level {
  /** Byte path; the top is empty. */
  readonly directory: string;
  readonly rules: readonly Rule[];
}

export class IgnoreRules {
  /** By the directory that the rules are in. */
  private readonly rules = new Map<string, readonly Rule[]>();
  /** What counts in a directory, the nearest rules first. Remembered: directories may be as deep as a path is long. */
  private readonly levels = new Map<string, readonly Level[]>();
  private readonly ignoredDirectories = new Map<string, boolean>();

  /** The rules of a commit with these files. `readBlob` answers a file's content; `prefix`: where they are. */
  static of(files: BaseFiles, readBlob: (id: string) => Buffer, prefix = ""): IgnoreRules {
    const rules = new IgnoreRules();
    for (const path of files.paths()) {
      if (!isRulesFile(path)) continue;
      const entry = files.entry(path);
      if (!entry || (entry.mode & kindMask) !== regularFile) continue;
      const directory = (prefix + path).slice(0, Math.max(prefix.length + path.length - rulesName.length - 1, 0));
      rules.add(directory, readBlob(entry.id).toString("latin1"));
    }
    return rules;
  }

  /** Rules that can be changed without these. */
  copy(): IgnoreRules {
    const copied = new IgnoreRules();
    for (const [directory, rules] of this.rules) copied.rules.set(directory, rules);
    return copied;
  }

  /** `text`: a `.gitignore` as bytes (latin1), in `directory`. Before anything below it is asked for. */
  add(directory: string, text: string): void {
    const rules = text
      .replace(/^\xef\xbb\xbf/, "")
      .split("\n")
      .flatMap((line) => parseRule(line) ?? []);
    this.rules.set(directory, rules.reverse());
    this.levels.delete(directory);
  }

  /** `path`: bytes, relative to the top. */
  ignores(path: string, isDirectory: boolean): boolean {
    if (isDirectory) {
      const known = this.ignoredDirectories.get(path);
      if (known !== undefined) return known;
    }
    const slash = path.lastIndexOf("/");
    const above = slash < 0 ? "" : path.slice(0, slash);
    // Invariant 2.
    const ignored = (above !== "" && this.ignores(above, true)) || this.matches(path, above, isDirectory);
    if (isDirectory) this.ignoredDirectories.set(path, ignored);
    return ignored;
  }

  /** The last rule that matches decides, the nearest directory's first. */
  private matches(path: string, above: string, isDirectory: boolean): boolean {
    const name = path.slice(path.lastIndexOf("/") + 1);
    for (const { directory, rules } of this.levelsOf(above)) {
      const relative = directory === "" ? path : path.slice(directory.length + 1);
      for (const rule of rules) {
        if (rule.directoriesOnly && !isDirectory) continue;
        if (rule.matches(rule.anchored ? relative : name)) return !rule.negated;
      }
    }
    return false;
  }

  private levelsOf(directory: string): readonly Level[] {
    const known = this.levels.get(directory);
    if (known) return known;
    const parent = parentOf(directory);
    const above = parent === undefined ? [] : this.levelsOf(parent);
    const rules = this.rules.get(directory);
    const levels = rules ? [{ directory, rules }, ...above] : above;
    this.levels.set(directory, levels);
    return levels;
  }
}

export function isRulesFile(path: string): boolean {
  return path === rulesName || path.endsWith(`/${rulesName}`);
}

/** Undefined above the top. */
function parentOf(directory: string): string | undefined {
  return directory === "" ? undefined : directory.slice(0, Math.max(directory.lastIndexOf("/"), 0));
}

export function parseRule(line: string): Rule | undefined {
  let text = withoutSpaces(line.replace(/\r$/, ""));
  if (text === "" || text.startsWith("#")) return undefined;
  const negated = text.startsWith("!");
  if (negated) text = text.slice(1);
  const directoriesOnly = text.endsWith("/");
  if (directoriesOnly) text = text.slice(0, -1);
  const anchored = text.includes("/");
  if (text.startsWith("/")) text = text.slice(1);
  const matches = compileGlob(text);
  return matches && { matches, negated, directoriesOnly, anchored };
}

/** Without spaces at the end, but for one that a backslash keeps. By hand: a pattern would try each of many spaces. */
function withoutSpaces(line: string): string {
  let end = line.length;
  while (line[end - 1] === " ") end -= 1;
  let backslashes = 0;
  while (line[end - 1 - backslashes] === "\\") backslashes += 1;
  return line.slice(0, backslashes % 2 === 1 ? end + 1 : end);
}
