/**
 * Owns bringing the objects of one repository into another: linked or copied, never borrowed.
 *
 * Invariants:
 * 1. A file has its name when it is whole: it is made beside and renamed. What is there already counts if it has the
 *    original's size; anything else is no copy of it, and is replaced.
 * 2. Packs before their indexes, and no index without its pack: git takes a pack to be there when its index is.
 * 3. No symlink is gone through on the way to a file.
 * 4. What a killed call left beside bears its process id, and goes with the next call.
 */
import {
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { ObjectStorage } from "../../../domain/repository.js";
import { isDirectory } from "../files/place.js";
import { isAlive } from "../files/process-table.js";
import { syncDirectory } from "../files/replace-file.js";

const { COPYFILE_FICLONE, COPYFILE_FICLONE_FORCE } = constants;
const cannotShare = new Set(["ENOTSUP", "EOPNOTSUPP", "ENOTTY", "ENOSYS", "EINVAL", "EXDEV", "EPERM"]);
/** Another file system, one that has no links, or one that is at its limit of links to a file. */
const cannotLink = new Set(["EXDEV", "EPERM", "EMLINK", "ENOTSUP"]);
/** Git, too, removes what begins with `tmp_` when it tidies up. */
const temporaryPrefix = "tmp_leasehold_";

/** `from`, `to`: directories of objects. */
export interface TransferRequest {
  readonly from: string;
  readonly to: string;
  /** AUTO, the default: blocks are shared where the file system can (a write to one file leaves the other), else the files are. */
  readonly storage?: ObjectStorage | undefined;
  /** What was brought is there also after the machine has stopped. */
  readonly lasting?: boolean;
}

export function transferObjects(request: TransferRequest): void {
  const { from, to } = request;
  makeDirectory(join(to, "pack"));
  const transfer = new Transfer(request);
  try {
    // invariant 2: whoever fetches into `from` meanwhile may have put an index there whose pack is to come
    const names = new Set(readdirSync(join(from, "pack")));
    const packs = [...names].filter((name) => name.startsWith("pack-") && name.endsWith(".pack"));
    for (const name of packs) transfer.bring(join(from, "pack", name), join(to, "pack", name));
    for (const name of packs.map((pack) => pack.replace(/pack$/, "idx"))) {
      if (names.has(name)) transfer.bring(join(from, "pack", name), join(to, "pack", name));
    }
    for (const name of readdirSync(from)) {
      if (!/^[0-9a-f]{2}$/.test(name)) continue;
      makeDirectory(join(to, name));
      for (const object of readdirSync(join(from, name))) {
        if (/^[0-9a-f]{38}$/.test(object)) transfer.bring(join(from, name, object), join(to, name, object));
      }
    }
  } finally {
    transfer.end();
  }
}

class Transfer {
  private readonly objects: string;
  private readonly storage: ObjectStorage;
  private readonly lasting: boolean;
  private readonly temporary: string;
  private readonly changed = new Set<string>();
  private shares: boolean;

  constructor({ to, storage = "AUTO", lasting = false }: TransferRequest) {
    this.objects = to;
    this.storage = storage;
    this.lasting = lasting;
    this.shares = storage === "AUTO";
    this.temporary = join(to, "pack", temporaryPrefix + process.pid);
    this.sweep();
  }

  bring(from: string, to: string): void {
    const there = lstatSync(to, { throwIfNoEntry: false });
    if (there?.isFile() && there.size === lstatSync(from).size) return;
    this.make(from);
    if (this.lasting) syncFile(this.temporary);
    renameSync(this.temporary, to);
    this.changed.add(dirname(to));
  }

  end(): void {
    // of a call that failed
    rmSync(this.temporary, { force: true });
    if (!this.lasting || this.changed.size === 0) return;
    for (const directory of [...this.changed, this.objects]) syncDirectory(directory);
  }

  private make(from: string): void {
    // a rename of one link of a file over another leaves both
    rmSync(this.temporary, { force: true });
    if (this.shares && share(from, this.temporary)) return;
    this.shares = false;
    if (this.storage !== "COPY" && link(from, this.temporary)) return;
    rmSync(this.temporary, { force: true });
    copyFileSync(from, this.temporary, COPYFILE_FICLONE);
  }

  /** Invariant 4. */
  private sweep(): void {
    for (const name of readdirSync(join(this.objects, "pack"))) {
      const pid = name.startsWith(temporaryPrefix) ? Number(name.slice(temporaryPrefix.length)) : Number.NaN;
      if (pid === process.pid || (pid > 0 && !isAlive(pid))) {
        rmSync(join(this.objects, "pack", name), { force: true });
      }
    }
  }
}

/** False if this file system does not share blocks between files. */
function share(from: string, to: string): boolean {
  try {
    copyFileSync(from, to, COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    if (!cannotShare.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
    rmSync(to, { force: true });
    return false;
  }
}

/** False if these files cannot be one. */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (!cannotLink.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
    return false;
  }
}

/** Invariant 3. */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST" || !isDirectory(path)) throw error;
  }
}

function syncFile(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
