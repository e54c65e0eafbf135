/**
 * Owns matching byte paths against git's globs (gitignore(5), git's wildmatch.c).
 *
 * Invariants:
 * 1. Nothing is tried twice but for the last `*` and the last `**`: time is in proportion to glob times path, whoever
 *    wrote them.
 * 2. A set never matches a slash.
 */

export type Matcher = (path: string) => boolean;

/** A byte, a set of bytes, or one of the following. */
type Step = number | Uint8Array;
const any = -1;
/** `*`: whatever is no slash. */
const star = -2;
/** Two stars and a slash: any directories, or none. */
const directories = -3;
/** Two stars at the end: whatever comes. */
const rest = -4;
const slash = 0x2f;

/** Undefined for a glob that matches nothing. `glob` and paths: bytes, one character each. */
export function compileGlob(glob: string): Matcher | undefined {
  const steps = parse(glob);
  if (!steps) return undefined;
  if (!steps.every((step) => typeof step === "number" && step >= 0)) return (path) => matches(steps, path);
  const literal = steps.map((step) => String.fromCharCode(step as number)).join("");
  return (path) => path === literal;
}

function matches(steps: readonly Step[], path: string): boolean {
  let [step, at] = [0, 0];
  let [afterStar, starAt] = [-1, 0];
  let [afterDirectories, directoriesAt] = [-1, 0];
  for (;;) {
    const wanted = steps[step];
    if (wanted === rest || (wanted === undefined && at === path.length)) return true;
    if (wanted === star) {
      afterStar = ++step;
      starAt = at;
    } else if (wanted === directories) {
      // a star before it ends at a slash in any case: another length of it changes nothing
      afterStar = -1;
      afterDirectories = ++step;
      directoriesAt = at;
    } else if (wanted !== undefined && at < path.length && fits(wanted, path.charCodeAt(at))) {
      step += 1;
      at += 1;
    } else if (afterStar >= 0 && starAt < path.length && path.charCodeAt(starAt) !== slash) {
      at = ++starAt;
      step = afterStar;
    } else {
      const next = afterDirectories < 0 ? -1 : path.indexOf("/", directoriesAt);
      if (next < 0) return false;
      at = directoriesAt = next + 1;
      step = afterDirectories;
      afterStar = -1;
    }
  }
}

function fits(wanted: Step, byte: number): boolean {
  if (typeof wanted !== "number") return wanted[byte] === 1;
  return wanted === any ? byte !== slash : wanted === byte;
}

function parse(glob: string): readonly Step[] | undefined {
  const steps: Step[] = [];
  // Git matches the literal beginning apart, so that `**` right behind it counts as standing alone: `a**/b`.
  const literal = glob.search(/[*?[\\]/);
  for (let at = 0; at < glob.length; ) {
    const char = glob[at];
    if (char === "*") {
      let end = at;
      while (glob[end] === "*") end += 1;
      const alone = (at === literal || glob[at - 1] === "/") && (end === glob.length || glob[end] === "/");
      const isDeep = end - at > 1 && alone;
      steps.push(!isDeep ? star : end === glob.length ? rest : directories);
      at = isDeep ? end + 1 : end;
    } else if (char === "?") {
      steps.push(any);
      at += 1;
    } else if (char === "[") {
      const set = parseSet(glob, at);
      if (!set) return undefined;
      steps.push(set.bytes);
      at = set.end;
    } else {
      if (char === "\\") at += 1;
      if (at >= glob.length) return undefined;
      steps.push(glob.charCodeAt(at));
      at += 1;
    }
  }
  return steps;
}

/** First and last of each range. */
const classes: Readonly<Record<string, string>> = {
  alnum: "09AZaz",
  alpha: "AZaz",
  blank: "  \t\t",
  cntrl: "\x00\x1f\x7f\x7f",
  digit: "09",
  graph: "!~",
  lower: "az",
  print: " ~",
  punct: "!/:@[`{~",
  space: "  \t\n\r\r",
  upper: "AZ",
  xdigit: "09AFaf",
};

/** A bracket expression that begins at `begin`; undefined if it is not closed. */
function parseSet(glob: string, begin: number): { readonly bytes: Uint8Array; readonly end: number } | undefined {
  let at = begin + 1;
  const negated = glob[at] === "!" || glob[at] === "^";
  if (negated) at += 1;
  const bytes = new Uint8Array(256);
  for (let first = true; first || glob[at] !== "]"; first = false) {
    if (at >= glob.length) return undefined;
    const named = /^\[:(\w+):\]/.exec(glob.slice(at, at + 64));
    if (named) {
      const ranges = classes[named[1] as string];
      if (ranges === undefined) return undefined;
      for (let range = 0; range < ranges.length; range += 2) {
        bytes.fill(1, ranges.charCodeAt(range), ranges.charCodeAt(range + 1) + 1);
      }
      at += named[0].length;
      continue;
    }
    const low = readMember(glob, at);
    if (!low) return undefined;
    at = low.end;
    let high = low;
    if (glob[at] === "-" && glob[at + 1] !== "]" && at + 1 < glob.length) {
      const read = readMember(glob, at + 1);
      if (!read) return undefined;
      high = read;
      at = high.end;
    }
    if (low.byte <= high.byte) bytes.fill(1, low.byte, high.byte + 1);
  }
  if (negated) for (const [byte, isMember] of bytes.entries()) bytes[byte] = 1 - isMember;
  bytes[slash] = 0;
  return { bytes, end: at + 1 };
}

function readMember(glob: string, at: number): { readonly byte: number; readonly end: number } | undefined {
  const skip = glob[at] === "\\" ? 1 : 0;
  return at + skip < glob.length ? { byte: glob.charCodeAt(at + skip), end: at + skip + 1 } : undefined;
}
