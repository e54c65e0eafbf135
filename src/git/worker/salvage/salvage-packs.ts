/**
 * Owns that a repository of salvages has no packs that nothing needs: of salvages that are gone, and of a mirror that has
 * others by now.
 *
 * Invariants:
 * 1. What a salvage's ref reaches stays. Of that, what the mirror has is whole, and comes with the mirror's packs.
 * 2. `planPacks` adds and takes nothing away; `dropPacks` does, where the repository is still what it was. Whoever calls that sees
 *    to it that nobody reads or adds salvages meanwhile.
 * 3. An index goes before its pack, so that at no time an index is alone.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, unlinkSync } from "node:fs";
import { basename, join } from "node:path";
import type { PlanPacksJob, SparePacks } from "../../protocol.js";
import { Inside } from "../files/inside.js";
import { lowerPriority } from "../files/low-priority.js";
import { isDirectory } from "../files/place.js";
import { replaceFile, syncDirectory } from "../files/replace-file.js";
import { packDirectory, packsOf } from "../mirror/mirror-packs.js";
import { damagedObjects, everyPack } from "../mirror/mirror-record.js";
import { formatPacked, readRefs } from "../mirror/refs.js";
import { Damaged, referencesOf } from "../objects/git-object.js";
import { ObjectStore } from "../objects/object-store.js";
import { PackFile } from "../objects/pack-file.js";
import { bringObjects } from "./salvage-repository.js";

const stateName = "leasehold-packs";
/** Objects of salvages that are looked at; where there are more, all packs stay. */
const mostObjects = 1_000_000;

/** Undefined: all packs are needed, or it is not known. */
export function planPacks({ salvages, mirror, modules }: PlanPacksJob): SparePacks | undefined {
  if (!isDirectory(salvages) || !isDirectory(mirror)) return undefined;
  const mirrors = [mirror, ...modulesOf(modules).filter((one) => isUsed(one, salvages))];
  const stateOf = (seen: string): string =>
    [seen, ...mirrors.map((one) => `${basename(one)} ${names(one).join(" ")}`)].join("\n");
  if (readState(salvages) === stateOf(digest(salvages))) return undefined;
  if (mirrors.some((one) => damagedObjects(one).length > 0)) return undefined;
  lowerPriority();
  bringObjects(mirrors, salvages);
  // before anything is looked at: a salvage that is made meanwhile changes it, and then nothing is taken away
  const seen = digest(salvages);
  const current = new Set(mirrors.flatMap(names));
  const needed = neededOf(salvages, mirrors);
  const own = needed ? names(salvages).filter((name) => !current.has(name)) : [];
  const packs = needed ? [...spare(salvages, own, needed), ...alone(salvages)] : [];
  if (packs.length > 0) return { packs, seen };
  replaceFile(join(salvages, stateName), stateOf(seen));
  return undefined;
}

/** Answers how many went: none where the repository is another one by now. */
export function dropPacks({ salvages, spare }: { salvages: string; spare: SparePacks }): number {
  if (!isDirectory(salvages) || digest(salvages) !== spare.seen) return 0;
  const directory = packDirectory(salvages);
  for (const pack of spare.packs) {
    const files = readdirSync(directory).filter((file) => file.startsWith(`${pack}.`));
    for (const file of files.filter((one) => one.endsWith(".idx"))) unlinkSync(join(directory, file));
    for (const file of files.filter((one) => !one.endsWith(".idx"))) unlinkSync(join(directory, file));
  }
  syncDirectory(directory);
  return spare.packs.length;
}

/** Its references and packs. */
function digest(salvages: string): string {
  const files = readdirSync(packDirectory(salvages)).sort();
  return createHash("sha256")
    .update(`${formatPacked(readRefs(salvages).refs)}\n${files.join("\n")}`)
    .digest("hex");
}

/** Mirrors of submodules' upstreams. */
function modulesOf(directory: string): readonly string[] {
  if (!isDirectory(directory)) return [];
  const found = readdirSync(directory).filter((name) => name.endsWith(".git"));
  return found.map((name) => join(directory, name)).filter((path) => isDirectory(packDirectory(path)));
}

/** Whether a salvage has once brought its packs. */
function isUsed(mirror: string, salvages: string): boolean {
  const its = everyPack(mirror);
  return names(salvages).some((name) => its.has(`pack/${name}.pack`));
}

function names(repository: string): string[] {
  return packsOf(repository).map(({ name }) => name);
}

/** What the salvages need beside what the mirrors have. Undefined: more than is looked at, or something is missing. */
function neededOf(salvages: string, mirrors: readonly string[]): ReadonlySet<string> | undefined {
  const store = ObjectStore.of(join(salvages, "objects"));
  const known = mirrors.map((mirror) => ObjectStore.of(join(mirror, "objects")));
  const isKnown = (id: string): boolean => known.some((one) => one.has(id));
  try {
    const tips = [...readRefs(salvages).refs.values()].map(({ id }) => id);
    const needed = new Set(tips.filter((id) => !isKnown(id)));
    for (const id of needed) {
      if (needed.size > mostObjects) return undefined;
      const object = store.find(id);
      if (!object) return undefined;
      for (const reference of referencesOf(object)) if (!isKnown(reference)) needed.add(reference);
    }
    return needed;
  } catch (error) {
    if (error instanceof Damaged) return undefined;
    throw error;
  } finally {
    for (const one of [store, ...known]) one.close();
  }
}

/** Those whose needed objects are all in others that stay; the largest first. */
function spare(salvages: string, own: readonly string[], needed: ReadonlySet<string>): readonly string[] {
  const directory = packDirectory(salvages);
  const kept = new Set(readdirSync(directory).filter((name) => name.endsWith(".keep")));
  const opened = new Map<string, PackFile>();
  try {
    for (const name of own) {
      const pack = PackFile.open(new Inside(directory), `${name}.idx`);
      if (!pack) return [];
      opened.set(name, pack);
    }
    const places = new Map<string, Set<string>>();
    for (const id of needed) {
      places.set(id, new Set(own.filter((name) => opened.get(name)?.find(id) !== undefined)));
    }
    const going: string[] = [];
    for (const name of [...own].reverse()) {
      const its = [...places.values()].filter((where) => where.has(name));
      if (kept.has(`${name}.keep`) || its.some((where) => where.size === 1)) continue;
      for (const where of its) where.delete(name);
      going.push(name);
    }
    return going;
  } finally {
    for (const pack of opened.values()) pack.close();
  }
}

/** Without an index: whoever brought them, or took the index away, was killed, unless it is about to come. */
function alone(salvages: string): readonly string[] {
  const files = new Set(readdirSync(packDirectory(salvages)));
  return [...files]
    .filter((file) => /^pack-[0-9a-f]{40}\.pack$/.test(file))
    .map((file) => file.slice(0, -".pack".length))
    .filter((name) => !files.has(`${name}.idx`));
}

function readState(salvages: string): string {
  try {
    return readFileSync(join(salvages, stateName), "utf8");
  } catch {
    return "";
  }
}
