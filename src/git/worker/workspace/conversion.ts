/**
 * Owns telling files that changed from files that a checkout converted (line ends, `$Id$`, encodings).
 *
 * Invariants:
 * 1. libgit2 sees copies in a directory of ours, and the commit's own attributes; nothing of the holder's.
 * 2. There is one copy at a time, in memory and on the disk, and one object.
 */
import { mkdirSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { toText } from "../files/byte-path.js";
import { asServer } from "../files/holder.js";
import { removeTree } from "../files/trash.js";
import { git } from "../nodegit.js";
import type { BaseFiles } from "../objects/base-files.js";
import { isAttributesFile, isConverting } from "./attributes.js";

/** A file whose bytes are not the commit's. */
export interface Candidate {
  readonly path: string;
  readonly bytes: Buffer;
}

/** Of the candidates, the paths that are what a checkout of the commit could have written. `work`: an absent directory. */
export async function findConverted(
  candidates: Iterable<Candidate>,
  base: BaseFiles,
  readBlob: (id: string) => Buffer,
  work: string,
): Promise<Set<string>> {
  const attributes = [...base.paths()].filter(isAttributesFile).flatMap((path) => {
    const id = base.entry(path)?.id;
    const text = toText(path);
    return id !== undefined && text !== undefined ? [{ path: text, bytes: readBlob(id) }] : [];
  });
  const converted = new Set<string>();
  if (!attributes.some(({ bytes }) => isConverting(bytes))) return converted;
  const repository = await asServer(() => {
    mkdirSync(dirname(work), { recursive: true });
    mkdirSync(work, { mode: 0o700 });
    return git.Repository.init(work, 0);
  });
  try {
    asServer(() => {
      for (const { path, bytes } of attributes) write(join(work, path), bytes);
    });
    for (const { path, bytes } of candidates) {
      const text = toText(path);
      if (text === undefined || isAttributesFile(path)) continue;
      const id = await asServer(() => {
        const copy = join(work, text);
        write(copy, bytes);
        return git.Blob.createFromWorkdir(repository, text)
          .then(String, () => undefined)
          .then((made) => {
            unlinkSync(copy);
            if (made !== undefined)
              rmSync(join(work, ".git", "objects", made.slice(0, 2), made.slice(2)), { force: true });
            return made;
          });
      });
      if (id === base.entry(path)?.id) converted.add(path);
    }
  } finally {
    asServer(() => {
      repository.cleanup();
      removeTree(work);
    });
  }
  return converted;
}

function write(path: string, bytes: Buffer): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}
