/**
 * Owns putting contents of Git LFS where a checkout has left pointers, and into the git directory, as git-lfs would have.
 *
 * Invariants:
 * 1. A content comes from the mirror, is a file of its own, and its SHA-256 is the pointer's: checked when it was stored.
 * 2. The index keeps the pointer and gets the stat of the content, as after git-lfs' own checkout: git finds nothing changed.
 * 3. A file that stands is kept only if it has the very stat by which the trusted index vouches for it.
 */
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { ObjectStorage } from "../../../domain/repository.js";
import { toBytePath, toFsPath } from "../files/byte-path.js";
import { asHolder, asServer, holder } from "../files/holder.js";
import { replaceUnsynced } from "../files/replace-file.js";
import { IndexFile } from "../index/index-file.js";
import { withStats } from "../index/index-writer.js";
import type { TrustedIndex } from "../index/trusted-index.js";
import { parseCommit } from "../objects/git-object.js";
import { ObjectStore } from "../objects/object-store.js";
import { isVouched } from "../workspace/working-tree.js";
import { findLfsFiles, type LfsFile } from "./lfs-files.js";
import { lfsPath } from "./lfs-store.js";

/**
 * How much older than the index its files are made. Of a file that bears the index' own second git compares the content,
 * and a git without git-lfs would find it changed.
 */
const olderMs = 2_000;
const chunk = 1024 * 1024;

export interface LfsPlace {
  /** The working tree. */
  readonly work: string;
  readonly git: string;
  readonly mirror: string;
  readonly commit: string;
  readonly objectStorage?: ObjectStorage;
}

/** The LFS files of a commit that a mirror has. */
export function lfsFilesOf(mirror: string, commit: string): LfsFile[] {
  const objects = ObjectStore.of(join(mirror, "objects"));
  try {
    return findLfsFiles(objects, parseCommit(objects.read(commit, "commit")).tree);
  } finally {
    objects.close();
  }
}

/** `trusted`: what vouches for files that stand already. */
export function placeLfsFiles(place: LfsPlace, trusted: TrustedIndex | undefined): void {
  const { mirror, commit } = place;
  const files = lfsFilesOf(mirror, commit);
  asHolder(() => placeAll(place, files, trusted));
}

function placeAll(
  { work, git, mirror, objectStorage }: LfsPlace,
  files: readonly LfsFile[],
  trusted: TrustedIndex | undefined,
): void {
  const known = trusted && new IndexFile(trusted.bytes);
  const positions = new Map(known?.paths.map((path, position) => [path, position]));
  const stats = new Map<string, bigint[]>();
  const root = toBytePath(work);
  for (const file of files) {
    const path = toFsPath(`${root}/${file.path}`);
    const position = positions.get(file.path);
    const now = lstatSync(path, { throwIfNoEntry: false });
    const isKept =
      known &&
      trusted &&
      position !== undefined &&
      known.id(position) === file.blob &&
      now?.size === file.size &&
      isVouched(now, known, position, trusted.writtenMs);
    if (!isKept) write(path, lfsPath(mirror, file.oid), file.executable);
    stats.set(file.path, statOf(path));
    keep(lfsPath(mirror, file.oid), lfsPath(git, file.oid), objectStorage);
  }
  const index = join(git, "index");
  replaceUnsynced(index, withStats(readFileSync(index), stats));
}

/** A file of its own: a holder may write to it. */
function write(path: string | Buffer, content: string, executable: boolean): void {
  unlinkSync(path);
  copy(content, path);
  chmodSync(path, (executable ? 0o777 : 0o666) & ~process.umask());
  const time = (Date.now() - olderMs) / 1000;
  utimesSync(path, time, time);
}

/**
 * A copy, sharing blocks where the file system can: what a holder does to it must not reach the mirror, and a content is
 * not read again before it is given to the next. Linked only where that is asked for.
 */
function keep(from: string, to: string, storage: ObjectStorage = "AUTO"): void {
  if (lstatSync(to, { throwIfNoEntry: false })) return;
  mkdirSync(dirname(to), { recursive: true });
  if (storage === "LINK" && !holder) {
    try {
      return linkSync(from, to);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EXDEV" && code !== "EPERM" && code !== "EMLINK" && code !== "ENOTSUP") throw error;
    }
  }
  const made = `${to}.new`;
  rmSync(made, { force: true });
  copy(from, made);
  chmodSync(made, 0o444);
  renameSync(made, to);
}

/** Where the holder's user, who may not read the mirror, makes the copy, the server reads for it. */
function copy(from: string, to: string | Buffer): void {
  if (!holder) return copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  const source = asServer(() => openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW));
  try {
    const target = openSync(to, "wx");
    try {
      const bytes = Buffer.allocUnsafe(chunk);
      for (let read = readSync(source, bytes); read > 0; read = readSync(source, bytes)) {
        for (let at = 0; at < read; ) at += writeSync(target, bytes, at, read - at);
      }
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}

/** In the order of an index' entry: times of change and content, device, inode, owner, group, size. */
function statOf(path: string | Buffer): bigint[] {
  const { ctimeNs, mtimeNs, dev, ino, uid, gid, size } = lstatSync(path, { bigint: true });
  const second = 1_000_000_000n;
  return [ctimeNs / second, ctimeNs % second, mtimeNs / second, mtimeNs % second, dev, ino, uid, gid, size];
}
