/**
 * Owns making a mirror's objects anew as one pack: without what nothing needs any more, with deltas that are looked for among
 * all of them.
 *
 * libgit2 does it, which makes such a pack for whoever fetches from a repository on this host. What is fetched from is a view of
 * the mirror that has its references, and one for each object that is kept.
 *
 * Invariants:
 * 1. What a reference reaches, or did fourteen days ago, or a commit that is kept, is in the pack: it was counted before, and the
 *    pack has as many objects.
 * 2. Here nothing changes that anybody reads; pack-swap.ts puts the new pack in its place.
 * 3. A mirror is looked at when its references have changed since, and a day has passed or it has grown by half. It is made anew
 *    where a fifth of its objects is not needed, or it has grown by half; the pack is used where that saves a tenth.
 */
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { MaintainMirrorRequest } from "../../../ports/background-files.js";
import type { MadePack } from "../../protocol.js";
import { lowerPriority } from "../files/low-priority.js";
import { replaceFile } from "../files/replace-file.js";
import { removeTree } from "../files/trash.js";
import { enableFsync, findObject, git, objectType, withRepository } from "../nodegit.js";
import { formerTips } from "./former-tips.js";
import { countDistinct, countObjects, type Pack, packsOf, placeOf } from "./mirror-packs.js";
import { damagedObjects } from "./mirror-record.js";
import { makeView, takePacks } from "./mirror-view.js";
import { refsDigest } from "./pack-swap.js";
import { type Ref, type RefTable, readRefs } from "./refs.js";
import { withUpstream } from "./upstream.js";

/** Smaller mirrors are left alone; and larger ones, which would take hours. */
const fewBytes = 1024 ** 2;
const mostBytes = 2 * 1024 ** 3;
const tolerated = 1 / 5;
const growth = 1.5;
const worthwhile = 9 / 10;
const restMs = 24 * 3_600_000;
const stateName = "leasehold-rewrite.json";
const kept = "refs/leasehold/kept/";

/** What was seen when it was looked at last. */
interface State {
  /** Its references, and what they named before. */
  readonly seen: string;
  /** Its size when it was made anew last, or was seen first. */
  readonly bytes: number;
}

/** Undefined: there is nothing to be gained. */
export async function rewritePacks(request: MaintainMirrorRequest): Promise<MadePack | undefined> {
  const { path: mirror, keep, roomBytes } = request;
  const table = readRefs(mirror);
  const refs = refsDigest(table);
  const former = formerTips(mirror);
  const seen = [refs, ...former].join(" ");
  const packs = packsOf(mirror);
  const bytes = packs.reduce((sum, pack) => sum + pack.bytes, 0);
  if (bytes < fewBytes || bytes > Math.min(mostBytes, roomBytes)) return undefined;
  const before = readState(mirror);
  const hasGrown = before !== undefined && bytes >= growth * before.bytes;
  if (before?.seen === seen || (before && !hasGrown && Date.now() - before.timeMs < restMs)) return undefined;
  if (damagedObjects(mirror).length > 0) return undefined;
  lowerPriority();
  // also where it is not made anew, or that fails: it would be the same the next time
  writeState(mirror, { seen, bytes: before?.bytes ?? bytes });
  const place = placeOf(mirror);
  removeTree(place);
  mkdirSync(place, { mode: 0o700 });
  try {
    const view = await viewOf(mirror, place, table, [...keep, ...former]);
    const needed = await countNeeded(view);
    const total = countDistinct(mirror, packs);
    const made = hasGrown || needed < total * (1 - tolerated) ? await fetchAll(view, place, needed) : undefined;
    writeState(mirror, { seen, bytes: made && made.bytes < bytes ? made.bytes : bytes });
    if (!made || made.bytes > bytes * worthwhile) {
      removeTree(place);
      return undefined;
    }
    for (const rest of ["view", "new"]) removeTree(join(place, rest));
    return { name: made.name, replaced: packs.map(({ name }) => name), refs };
  } catch (error) {
    removeTree(place);
    throw error;
  }
}

/** Of the references, and of the objects in `keep` that are there. Answers its path. */
async function viewOf(mirror: string, place: string, table: RefTable, keep: readonly string[]): Promise<string> {
  const view = join(place, "view");
  const refs = new Map<string, Ref>(table.refs);
  await withRepository(mirror, async (repository) => {
    const odb = await repository.odb();
    for (const [at, id] of [...new Set(keep)].entries()) {
      // what a workspace was made of long ago may have gone with a mirror before this one
      if (await findObject(odb, id)) refs.set(`${kept}${at}`, { id });
    }
  });
  await makeView(view, mirror, refs);
  return view;
}

async function countNeeded(view: string): Promise<number> {
  return withRepository(view, async (repository) => {
    const builder = await git.Packbuilder.create(repository);
    const odb = await repository.odb();
    const walk = git.Revwalk.create(repository);
    walk.pushGlob("refs/*");
    await builder.insertWalk(walk);
    // tags, and references to something else than a commit
    for (const { id } of readRefs(view).refs.values()) {
      const isCommit = (await findObject(odb, id))?.type() === objectType.commit;
      if (!isCommit) await builder.insertRecur(git.Oid.fromString(id), "");
    }
    return builder.objectCount();
  });
}

/** All that the view's references reach, as one pack in `place`. */
async function fetchAll(view: string, place: string, needed: number): Promise<Pack> {
  enableFsync();
  const path = join(place, "new");
  (await git.Repository.init(path, 1)).cleanup();
  await withRepository(path, (repository) =>
    withUpstream(
      repository,
      { url: view },
      () => {},
      ({ download }) => download(["+refs/*:refs/*"]),
    ),
  );
  const [pack, ...more] = packsOf(path);
  if (!pack || more.length > 0 || countObjects(path, pack.name) !== needed) {
    throw new Error("what was made anew of a mirror is not complete");
  }
  takePacks(path, place);
  return pack;
}

function readState(mirror: string): (State & { readonly timeMs: number }) | undefined {
  const path = join(mirror, stateName);
  try {
    const { seen, bytes } = JSON.parse(readFileSync(path, "utf8")) as Partial<State>;
    if (typeof seen !== "string" || typeof bytes !== "number") return undefined;
    return { seen, bytes, timeMs: statSync(path).mtimeMs };
  } catch {
    return undefined;
  }
}

function writeState(mirror: string, state: State): void {
  replaceFile(join(mirror, stateName), `${JSON.stringify(state)}\n`);
}
