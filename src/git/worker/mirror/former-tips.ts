/**
 * Owns what a mirror's references named before: for some time it stays as if they did still.
 *
 * What a holder had pushed counts as saved, and a branch may be deleted upstream right after. So it is kept here for as long as
 * a salvage would have been.
 *
 * Invariant: what is about to be no longer named is written down before that.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../files/replace-file.js";
import { isObjectId } from "./refs.js";

const fileName = "leasehold-former-tips";
const mostKept = 20_000;
const keptMs = 14 * 24 * 3_600_000;

interface FormerTip {
  readonly id: string;
  /** Since when it is not named, in ms since 1970. */
  readonly timeMs: number;
}

/** Ids that were named in the last fourteen days and are no longer. */
export function formerTips(mirror: string): readonly string[] {
  return read(mirror).map(({ id }) => id);
}

export function noteFormer(mirror: string, ids: readonly string[]): void {
  if (ids.length === 0) return;
  const timeMs = Date.now();
  const tips = new Map(read(mirror).map((tip) => [tip.id, tip]));
  for (const id of ids) {
    tips.delete(id);
    tips.set(id, { id, timeMs });
  }
  const kept = [...tips.values()].slice(-mostKept);
  replaceFile(join(mirror, fileName), kept.map((tip) => `${tip.timeMs} ${tip.id}\n`).join(""));
}

function read(mirror: string): readonly FormerTip[] {
  let text: string;
  try {
    text = readFileSync(join(mirror, fileName), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  const eldestMs = Date.now() - keptMs;
  return text
    .split("\n")
    .map((line) => ({ id: line.slice(-40), timeMs: Number(line.slice(0, -41)) }))
    .filter(({ id, timeMs }) => isObjectId(id) && timeMs > eldestMs);
}
