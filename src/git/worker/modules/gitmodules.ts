/**
 * Owns reading a `.gitmodules`, in the format of git's configuration, as data.
 *
 * Invariants:
 * 1. Only `submodule.<name>.path`, `url` and `update` are looked at; the last of several values holds, as in git.
 * 2. What git would not parse is refused, not guessed.
 */
import { Damaged } from "../objects/git-object.js";

export interface ModuleEntry {
  readonly name: string;
  path: string;
  url: string;
  update: string;
}

/** One setting of a file in git's format. Section and key are in lower case. */
export interface Setting {
  readonly section: string;
  readonly subsection: string | undefined;
  readonly key: string;
  readonly value: string;
}

/** Throws `Damaged`. */
export function parseSettings(text: string): Setting[] {
  const settings: Setting[] = [];
  const reader = new Reader(text.replace(/^\uFEFF/, ""));
  let place: Pick<Setting, "section" | "subsection"> = { section: "", subsection: undefined };
  for (;;) {
    reader.skipBlank();
    if (reader.done) return settings;
    if (reader.peek === "[") place = reader.section();
    else settings.push({ ...place, ...reader.setting() });
  }
}

/** Entries in the order of their first mention. Throws `Damaged`. */
export function parseGitmodules(text: string): ModuleEntry[] {
  const entries = new Map<string, ModuleEntry>();
  for (const { section, subsection, key, value } of parseSettings(text)) {
    if (section !== "submodule" || subsection === undefined) continue;
    const entry = entries.get(subsection) ?? { name: subsection, path: "", url: "", update: "" };
    entries.set(subsection, entry);
    if (key === "path" || key === "url" || key === "update") entry[key] = value;
  }
  return [...entries.values()];
}

class Reader {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  get done(): boolean {
    return this.at >= this.text.length;
  }

  get peek(): string {
    return this.text[this.at] ?? "\n";
  }

  /** White space, and comments to the end of their line. */
  skipBlank(): void {
    for (; !this.done; this.at++) {
      if (this.peek === "#" || this.peek === ";") this.skipLine();
      else if (!/[ \t\r\n]/.test(this.peek)) return;
    }
  }

  private skipLine(): void {
    const end = this.text.indexOf("\n", this.at);
    this.at = end < 0 ? this.text.length : end;
  }

  section(): { readonly section: string; readonly subsection: string | undefined } {
    const match = /\[([a-zA-Z0-9.-]+)(?:[ \t]+"((?:[^"\\\n]|\\[^\n])*)")?\]/y;
    match.lastIndex = this.at;
    const [all, section = "", subsection] = match.exec(this.text) ?? [];
    if (all === undefined) throw new Damaged("a section that git could not read");
    this.at += all.length;
    // "[submodule.name]" is the old way to write one, in lower case
    const dot = section.indexOf(".");
    if (subsection === undefined && dot > 0) {
      return { section: section.slice(0, dot).toLowerCase(), subsection: section.slice(dot + 1).toLowerCase() };
    }
    return { section: section.toLowerCase(), subsection: subsection?.replace(/\\(.)/g, "$1") };
  }

  setting(): { readonly key: string; readonly value: string } {
    const match = /([a-zA-Z][a-zA-Z0-9-]*)[ \t]*(=?)[ \t]*/y;
    match.lastIndex = this.at;
    const [all, key = "", equals] = match.exec(this.text) ?? [];
    if (all === undefined) throw new Damaged("a line that git could not read");
    this.at += all.length;
    if (equals === "" && !/[\r\n#;]/.test(this.peek)) throw new Damaged("a line that git could not read");
    return { key: key.toLowerCase(), value: equals === "" ? "" : this.value() };
  }

  /** To the end of the line: quotes, escapes, a comment, and lines that go on. */
  private value(): string {
    let value = "";
    let kept = 0;
    let quoted = false;
    for (; !this.done; this.at++) {
      const character = this.peek;
      if (character === "\n") break;
      if (character === "\r" && this.text[this.at + 1] === "\n") continue;
      if (character === '"') quoted = !quoted;
      else if (character === "\\") value += this.escape();
      else if (!quoted && (character === "#" || character === ";")) {
        this.skipLine();
        break;
      } else value += character;
      if (quoted || !/[ \t]/.test(character)) kept = value.length;
    }
    if (quoted) throw new Damaged("a quote without an end");
    return value.slice(0, kept);
  }

  private escape(): string {
    this.at += 1;
    const after = this.peek;
    if (after === "\r" && this.text[this.at + 1] === "\n") this.at += 1;
    if (this.peek === "\n") return "";
    const known = { n: "\n", t: "\t", b: "\b", '"': '"', "\\": "\\" }[after];
    if (known === undefined) throw new Damaged("an escape that git could not read");
    return known;
  }
}
