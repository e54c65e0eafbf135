/**
 * Owns whether a mirror is whole: cheap checks that catch what libgit2 does not notice on opening.
 *
 * libgit2 opens and fetches into a mirror whose packs are truncated, overwritten or missing; only reading fails.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { MirrorRefs } from "../../../ports/git-engine.js";
import { isHostFault } from "../files/fault.js";
import { bytesOf, type Odb, objectType, type Repository, readObject, withRepository } from "../nodegit.js";
import { tailOf } from "../objects/object-checksum.js";
import { packDirectory } from "./mirror-packs.js";
import { recordedLook } from "./mirror-record.js";
import { describeRefs, isObjectId, isRefName, type Ref, readRefs } from "./refs.js";

/** Bytes of the trailing checksums of a pack and of its index. */
const checksumBytes = 20;
/** Longest chain of tags that name tags. */
const maxTagDepth = 32;

export async function inspectMirror(path: string): Promise<MirrorRefs | undefined> {
  try {
    const table = readRefs(path);
    if (!isObjectId(table.head) && !isRefName(table.head)) return undefined;
    checkPacks(path);
    await withRepository(path, (repository) =>
      checkTips(
        repository,
        [...table.refs.values()].map((ref) => ref.id),
      ),
    );
    return describeRefs(table);
  } catch (error) {
    // this host's fault, perhaps for a moment: the mirror is not doubted for it
    if (isHostFault(error)) throw error;
    return undefined;
  }
}

/** Fails unless every id can be read, and of each commit its tree. */
export async function checkTips(repository: Repository, ids: readonly string[]): Promise<void> {
  const odb = await repository.odb();
  for (const id of new Set(ids)) {
    const object = await readObject(odb, id);
    if (object.type() !== objectType.commit) continue;
    const tree = /^tree ([0-9a-f]{40})\n/.exec(bytesOf(object).toString("latin1"));
    if (!tree?.[1]) throw new Error(`commit ${id} has no tree`);
    await readObject(odb, tree[1]);
  }
}

/** The reference to `id`, with what it names in the end if it is a tag. */
export async function peel(repository: Repository, id: string): Promise<Ref> {
  const peeled = await peelId(await repository.odb(), id);
  return peeled.id === id ? { id } : { id, peeled: peeled.id };
}

/** Follows tag objects to what they name. */
export async function peelId(odb: Odb, id: string): Promise<{ readonly id: string; readonly type: number }> {
  let at = id;
  for (let depth = 0; depth < maxTagDepth; depth++) {
    const object = await readObject(odb, at);
    if (object.type() !== objectType.tag) return { id: at, type: object.type() };
    const target = /^object ([0-9a-f]{40})\n/.exec(bytesOf(object).toString("latin1"));
    if (!target?.[1]) break;
    at = target[1];
  }
  return { id: at, type: objectType.tag };
}

/**
 * Fails if a pack lacks its index, or does not end with the checksum that its index names: it is truncated then. One that is not
 * in the mirror's record counts for nobody: whoever brought it, or took it away, was killed in the midst of it.
 */
function checkPacks(mirror: string): void {
  const directory = packDirectory(mirror);
  const names = readdirSync(directory);
  for (const name of names.filter((candidate) => candidate.endsWith(".idx"))) {
    const index = tailOf(join(directory, name), 2 * checksumBytes);
    const pack = tailOf(join(directory, name.replace(/idx$/, "pack")), checksumBytes);
    if (!index.subarray(0, checksumBytes).equals(pack)) throw new Error(`${name} does not fit its pack`);
  }
  for (const name of names.filter((candidate) => candidate.endsWith(".pack"))) {
    const isAlone = !names.includes(name.replace(/pack$/, "idx"));
    if (isAlone && recordedLook(mirror, `pack/${name}`)) throw new Error(`${name} has no index`);
  }
}
