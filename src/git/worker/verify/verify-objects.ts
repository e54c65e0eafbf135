/**
 * Owns the proof that a workspace's objects are the mirror's: each file is one of the mirror's, and nothing is missing.
 *
 * Invariant: the same file (by device and inode) is believed to be as good as the mirror's own; `deep` believes nothing.
 */
import { lstatSync, readdirSync, type Stats } from "node:fs";
import { dirname, join } from "node:path";
import type { ObjectStorage } from "../../../domain/repository.js";
import { asHolder } from "../files/holder.js";
import { Inside } from "../files/inside.js";
import type { IndexFile } from "../index/index-file.js";
import { wasObject } from "../mirror/mirror-record.js";
import { isSound } from "../objects/object-checksum.js";
import { ObjectStore } from "../objects/object-store.js";
import type { Findings } from "./findings.js";
import { makingIn } from "./verify-files.js";
import type { ClonedRefs } from "./verify-refs.js";

const packName = /^pack-[0-9a-f]{40}\.(pack|idx)$/;

export interface ObjectsRequest {
  readonly workspace: string;
  /** The objects directory in it. */
  readonly objects: string;
  /** The mirror's objects directory. */
  readonly mirror: string;
  readonly storage: ObjectStorage;
  readonly deep: boolean;
  /** Ids that are to be there; asked for where files of the mirror are missing, and when `deep`. */
  readonly needed: () => Iterable<string>;
}

/** Answers whether a file that is the mirror's own was found to be damaged. */
export function verifyObjects(request: ObjectsRequest, findings: Pick<Findings, "add">): boolean {
  const { workspace, objects, storage, deep } = request;
  const making = asHolder(() => makingIn(workspace));
  const add = (name: string, fault: string): void => findings.add(`.git/objects${name && `/${name}`}: ${fault}`);
  const mine = objectFiles(request.mirror, () => {});
  const found = objectFiles(objects, (name, stat) => {
    const isKnown = name === "" || name === "info" || name === "pack" || /^[0-9a-f]{2}$/.test(name);
    if (!stat.isDirectory() || !isKnown) add(name, "is not of a clone");
    else if ((stat.mode & 0o7777) !== making.mode) add(name, "a directory with other permissions");
    else if (stat.uid !== making.uid || stat.gid !== making.gid) add(name, "belongs to another user");
  });
  const store = new ObjectStore(new Inside(objects), "");
  let damaged = false;
  try {
    for (const [name, stat] of found) {
      const own = mine.get(name);
      const fault = own ? faultOf(stat, own, storage) : strangeness(request, name);
      if (fault) add(name, fault);
      else if (deep && !isSound(objects, name)) {
        add(name, "is damaged");
        damaged ||= stat.ino === own?.ino && stat.dev === own.dev;
      }
    }
    const missing = [...mine.keys()].some((name) => !found.has(name));
    if ((missing || deep) && !hasAll(store, request.needed())) add("", "objects are missing");
  } finally {
    store.close();
  }
  return damaged;
}

/** Files by name below an objects directory; what is neither a pack nor a loose object goes to `other`, and directories. */
function objectFiles(objects: string, other: (name: string, stat: Stats) => void): Map<string, Stats> {
  const files = new Map<string, Stats>();
  const look = (directory: string): void => {
    for (const name of readdirSync(join(objects, directory))) {
      const path = directory === "" ? name : `${directory}/${name}`;
      const stat = lstatSync(join(objects, path), { throwIfNoEntry: false });
      if (!stat) continue;
      const isObject = directory === "pack" ? packName.test(name) : /^[0-9a-f]{2}\/[0-9a-f]{38}$/.test(path);
      if (isObject && stat.isFile()) files.set(path, stat);
      else {
        other(path, stat);
        if (directory === "" && stat.isDirectory()) look(path);
      }
    }
  };
  if (lstatSync(objects, { throwIfNoEntry: false })?.isDirectory()) look("");
  return files;
}

/** Of what is not one of the mirror's now: it may have been, before packs were merged. */
function strangeness({ objects, mirror }: ObjectsRequest, name: string): string | undefined {
  const isFormer = name.startsWith("pack/") && wasObject(dirname(mirror), name, join(objects, name));
  return isFormer ? undefined : "is no object of the mirror";
}

function faultOf(now: Stats, own: Stats, storage: ObjectStorage): string | undefined {
  if (now.dev === own.dev && now.ino === own.ino) return storage === "COPY" ? "is not a copy" : undefined;
  if (now.nlink !== 1) return "has other names";
  if (now.size !== own.size) return "is not the mirror's";
  return (now.mode & 0o7777) === (own.mode & 0o7777) ? undefined : "has other permissions";
}

function hasAll(store: ObjectStore, ids: Iterable<string>): boolean {
  for (const id of ids) if (!store.has(id)) return false;
  return true;
}

/** `index`: of the files whose contents are to be there as well. */
export function* neededIds(commit: string, { refs }: ClonedRefs, index: IndexFile | undefined): Generator<string> {
  const submodule = 0o160000;
  if (commit !== "") yield commit;
  for (const { id, peeled } of refs.values()) {
    yield id;
    if (peeled !== undefined) yield peeled;
  }
  for (let at = 0; at < (index?.length ?? 0); at++) if (index?.mode(at) !== submodule) yield index?.id(at) as string;
}
