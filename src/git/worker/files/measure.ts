/**
 * Owns counting the bytes that a directory takes, behind everything else that is done.
 *
 * Invariants:
 * 1. It works for a fifth of the time, at the lowest priority that there is: `restFactor` times as long as it has worked
 *    it rests.
 * 2. A file counts once, by its blocks, however many names it has here; what has a name in one of `shared` is not ours.
 * 3. No symlink is followed, no other file system entered, nothing opened but directories. What cannot be read, or goes
 *    meanwhile, counts nothing.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { MeasureRequest } from "../../../ports/background-files.js";
import { asHolder, asServer } from "./holder.js";
import { Inside } from "./inside.js";
import { lowerPriority } from "./low-priority.js";

/** In ms. */
const spell = 10;
const restFactor = 4;
const blockBytes = 512;

export async function measure(request: MeasureRequest): Promise<number> {
  lowerPriority();
  const as = request.holders ? asHolder : asServer;
  const seen = new Set<string>();
  for (const path of request.shared)
    for await (const one of walk(path, asServer)) if (!one.isDirectory) seen.add(one.key);
  let bytes = 0;
  for await (const one of walk(request.path, as, request.except)) {
    if (one.names > 1 && !one.isDirectory) {
      if (seen.has(one.key)) continue;
      seen.add(one.key);
    }
    bytes += one.blocks * blockBytes;
  }
  return bytes;
}

interface Found {
  /** Device and inode. */
  readonly key: string;
  readonly names: number;
  readonly blocks: number;
  readonly isDirectory: boolean;
}

/** The directory itself and everything in it. */
async function* walk(path: string, as: typeof asServer, except: readonly string[] = []): AsyncGenerator<Found> {
  let begin = performance.now();
  const inside = as(() => attempt(() => new Inside(path)));
  if (!inside) return;
  const own = as(() => attempt(() => inside.stat("")));
  const waiting = own?.isDirectory() ? [""] : [];
  if (own) yield { key: "", names: 1, blocks: own.blocks, isDirectory: true };
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    const entries = as(() => attempt(() => inside.list(directory as string))) ?? [];
    for (const { name } of entries) {
      const below: string = directory === "" ? name : `${directory}/${name}`;
      const stat = as(() => attempt(() => inside.stat(below)));
      if (performance.now() - begin > spell) {
        await sleep((performance.now() - begin) * restFactor);
        begin = performance.now();
      }
      if (!stat || stat.dev !== own?.dev || except.includes(below)) continue;
      const isDirectory = stat.isDirectory();
      if (isDirectory) waiting.push(below);
      yield { key: `${stat.dev}:${stat.ino}`, names: stat.nlink, blocks: stat.blocks, isDirectory };
    }
  }
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
