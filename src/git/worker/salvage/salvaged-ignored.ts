/**
 * Owns which ignored files are work nevertheless: the globs of a repository's `salvage_ignored`.
 *
 * Invariant: a directory that a glob names brings all below it; one that only may hold such files is looked into.
 */
import { IgnoreRules } from "./ignore-rules.js";

export class SalvagedIgnored {
  private readonly rules: IgnoreRules | undefined;
  /** Of anchored globs: byte paths of the directories that their literal beginning names. Undefined: they may be anywhere. */
  private readonly places: readonly string[] | undefined;

  /** `globs`: as in `.gitignore`, relative to the top. */
  constructor(globs: readonly string[]) {
    if (globs.length === 0) return;
    const bytes = globs.map((glob) => Buffer.from(glob, "utf8").toString("latin1"));
    this.rules = new IgnoreRules();
    this.rules.add("", bytes.join("\n"));
    const places = bytes.map(placeOf);
    if (places.every((place) => place !== undefined)) this.places = places;
  }

  /** Whether the globs name a byte path, or a directory above it. */
  names(path: string, isDirectory: boolean): boolean {
    return this.rules?.ignores(path, isDirectory) ?? false;
  }

  /** Whether the globs may name something below a directory. */
  mayNameBelow(directory: string): boolean {
    if (!this.rules) return false;
    if (!this.places) return true;
    return this.places.some(
      (place) => `${place}/`.startsWith(`${directory}/`) || `${directory}/`.startsWith(`${place}/`),
    );
  }
}

/** The directory that an anchored glob begins with; undefined where it may match at any depth. */
function placeOf(glob: string): string | undefined {
  const bare = glob.replace(/\/$/, "");
  if (!bare.includes("/")) return undefined;
  const parts = bare.replace(/^\//, "").split("/");
  const literal = parts.findIndex((part) => /[*?[\\]/.test(part));
  const known = parts.slice(0, literal < 0 ? -1 : literal);
  // at the top: only entries of the top can match, unless a `**` comes
  return known.length === 0 && parts.length > 1 ? undefined : known.join("/");
}
