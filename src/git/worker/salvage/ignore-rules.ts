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

/** How files with rules are called. */
export const rulesName = ".gitignore";
const kindMask = 0o170000;
const regularFile = 0o100000;

export interface Rule {
  readonly pattern: RegExp;
  readonly negated: boolean;
  readonly directoriesOnly: boolean;
  /** Matched against the path from the rules' directory, not the last name alone. */
  readonly anchored: boolean;
}

export class IgnoreRules {
  /** By the directory that the rules are in, as byte path; the top is empty. */
  private readonly rules = new Map<string, readonly Rule[]>();
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

  /** `text`: a `.gitignore` as bytes (latin1), in `directory`. */
  add(directory: string, text: string): void {
    const rules = text
      .replace(/^\xef\xbb\xbf/, "")
      .split("\n")
      .flatMap((line) => parseRule(line) ?? []);
    this.rules.set(directory, rules);
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
    for (let directory: string | undefined = above; directory !== undefined; directory = parentOf(directory)) {
      const relative = directory === "" ? path : path.slice(directory.length + 1);
      const rules = this.rules.get(directory) ?? [];
      for (let index = rules.length - 1; index >= 0; index--) {
        const rule = rules[index] as Rule;
        if (rule.directoriesOnly && !isDirectory) continue;
        if (rule.pattern.test(rule.anchored ? relative : name)) return !rule.negated;
      }
    }
    return false;
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
  let text = line.replace(/\r$/, "").replace(/^((?:[^\\]|\\.)*?) +$/s, "$1");
  if (text === "" || text.startsWith("#")) return undefined;
  const negated = text.startsWith("!");
  if (negated) text = text.slice(1);
  const directoriesOnly = text.endsWith("/");
  if (directoriesOnly) text = text.slice(0, -1);
  const anchored = text.includes("/");
  if (text.startsWith("/")) text = text.slice(1);
  const source = translate(text);
  return source === undefined ? undefined : { pattern: new RegExp(source, "s"), negated, directoriesOnly, anchored };
}

/** Git's wildmatch as a regular expression; undefined for a pattern that matches nothing. */
function translate(glob: string): string | undefined {
  let source = "^";
  // Git matches the literal beginning apart, so that `**` right behind it counts as standing alone: `a**/b`.
  const literal = glob.search(/[*?[\\]/);
  for (let at = 0; at < glob.length; ) {
    const char = glob[at] as string;
    const stars = /^\*+/.exec(glob.slice(at))?.[0].length ?? 0;
    if (stars > 0) {
      const alone =
        (at === literal || glob[at - 1] === "/") && (at + stars === glob.length || glob[at + stars] === "/");
      if (stars < 2 || !alone) source += "[^/]*";
      else if (at + stars === glob.length) source += ".*";
      else {
        source += "(?:.*/)?";
        at += 1;
      }
      at += stars;
    } else if (char === "?") {
      source += "[^/]";
      at += 1;
    } else if (char === "[") {
      const set = translateSet(glob, at);
      if (!set) return undefined;
      source += set.source;
      at = set.end;
    } else {
      if (char === "\\") at += 1;
      if (at >= glob.length) return undefined;
      source += escaped(glob[at] as string);
      at += 1;
    }
  }
  return `${source}$`;
}

const classes: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  blank: " \\t",
  cntrl: "\\x00-\\x1f\\x7f",
  digit: "0-9",
  graph: "\\x21-\\x7e",
  lower: "a-z",
  print: "\\x20-\\x7e",
  punct: "!-\\/:-@\\[-`{-~",
  space: "\\s",
  upper: "A-Z",
  xdigit: "0-9A-Fa-f",
};

/** A bracket expression that begins at `begin`; undefined if it is not closed. */
function translateSet(glob: string, begin: number): { readonly source: string; readonly end: number } | undefined {
  let at = begin + 1;
  const negated = glob[at] === "!" || glob[at] === "^";
  if (negated) at += 1;
  let members = "";
  for (let first = true; first || glob[at] !== "]"; first = false) {
    if (at >= glob.length) return undefined;
    const named = /^\[:(\w+):\]/.exec(glob.slice(at));
    if (named) {
      const listed = classes[named[1] as string];
      if (listed === undefined) return undefined;
      members += listed;
      at += named[0].length;
      continue;
    }
    const low = readMember(glob, at);
    if (!low) return undefined;
    at = low.end;
    if (glob[at] !== "-" || glob[at + 1] === "]" || at + 1 >= glob.length) {
      members += escaped(low.char);
      continue;
    }
    const high = readMember(glob, at + 1);
    if (!high) return undefined;
    at = high.end;
    if (low.char <= high.char) members += `${escaped(low.char)}-${escaped(high.char)}`;
  }
  // A set never matches a slash. An empty one matches nothing, its negation any other character.
  return { source: `(?!/)[${negated ? "^" : ""}${members}]`, end: at + 1 };
}

function readMember(glob: string, at: number): { readonly char: string; readonly end: number } | undefined {
  const skip = glob[at] === "\\" ? 1 : 0;
  const char = glob[at + skip];
  return char === undefined ? undefined : { char, end: at + skip + 1 };
}

function escaped(char: string): string {
  return `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
}
