/**
 * Owns moving things out of the way and removing them for good.
 *
 * Invariants:
 * 1. Nothing is removed where it stood: it is renamed into the trash, which costs the same whatever its size.
 * 2. Removal never follows a symlink, not even one that takes a directory's place while it is removed, and never leaves
 *    the trash or its file system; modes, depth and odd names do not stop it.
 */
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { toBytePath, toFsPath } from "./byte-path.js";
import { WorkerFault } from "./fault.js";
import { asHolder, asServer, giveToHolder, holder } from "./holder.js";
import { mountPointsBelow } from "./mounts-inside.js";
import { describeRefusal } from "./obstruction.js";

/** Below this the kernel takes every path (PATH_MAX is 4096); what is deeper is moved up before it is removed. */
const longestPath = 3000;

/** How many directories deep they are held open, before what is deeper is moved up. */
const deepest = 64;
/** Linux: a name below it is looked for in the very directory that is open, wherever that has been moved to. */
const descriptors = "/proc/self/fd";
const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;

/** One call's place in the trash; made when the first thing is taken. */
export class TrashBin {
  private readonly directory: string;
  private count = 0;

  constructor(trash: string) {
    this.directory = join(trash, `${Date.now().toString(36)}-${randomBytes(6).toString("hex")}`);
  }

  /** Moves `path` (bytes or text) into the trash. Its directory is made writable if it must be. */
  take(path: string | Buffer): void {
    move(path, () => {
      mkdirSync(this.directory, { recursive: true, mode: 0o700 });
      return join(this.directory, String(this.count++));
    });
  }

  /**
   * The same for what is inside a workspace, where a holder's process may put a symlink in the way at any moment: it is
   * moved with the holder's rights, into a directory of the holder's that only the server can get to.
   */
  takeInside(paths: readonly (string | Buffer)[]): void {
    if (!holder || paths.length === 0) {
      for (const path of paths) this.take(path);
      return;
    }
    let open: number | undefined;
    const outbox = (isFirst: boolean): string =>
      asServer(() => {
        if (open === undefined || !isFirst) {
          // somebody has emptied the trash meanwhile
          if (open !== undefined) closeSync(open);
          const made = join(this.directory, String(this.count++));
          mkdirSync(made, { recursive: true, mode: 0o700 });
          giveToHolder(made);
          open = openSync(made, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        }
        return `${descriptors}/${open}/${this.count++}`;
      });
    try {
      asHolder(() => {
        for (const path of paths) move(path, outbox);
      });
    } finally {
      if (open !== undefined) closeSync(open);
    }
  }
}

/** `place`: where to; asked a second time if what it answered had gone. */
function move(path: string | Buffer, place: (isFirst: boolean) => string): void {
  const rename = (): void => {
    try {
      renameSync(path, place(true));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      renameSync(path, place(false));
    }
  };
  try {
    rename();
  } catch (error) {
    if (!isRefused(error)) throw error;
    // Its parent refuses, or, for a directory, it does so itself: its ".." is to be rewritten.
    const text = typeof path === "string" ? path : path.toString("latin1");
    chmodSync(typeof path === "string" ? dirname(text) : Buffer.from(dirname(text), "latin1"), 0o755);
    if (lstatSync(path).isDirectory()) chmodSync(path, 0o700);
    rename();
  }
}

/** Removes everything in `trash`. Goes on past failures and throws the first of them at the end. */
export function emptyTrash(trash: string): void {
  const stat = lstatSync(trash, { throwIfNoEntry: false });
  if (!stat?.isDirectory()) return;
  try {
    emptyDirectory(trash);
  } catch (error) {
    const detail = describeRefusal(error, trash);
    throw detail === undefined ? error : new WorkerFault("obstructed", `the trash cannot be emptied: ${detail}`);
  }
}

/** Removes `path` whatever it is; nothing happens if it is not there. */
export function removeTree(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isDirectory()) return unlinkSync(path);
  emptyDirectory(path);
  rmdirSync(path);
}

function emptyDirectory(path: string): void {
  const file = openDirectory(path);
  try {
    new Removal(file, toBytePath(path)).run();
  } finally {
    closeSync(file);
  }
}

/** Not through a symlink. Makes it accessible if it must. */
function openDirectory(path: string | Buffer): number {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  try {
    return openSync(path, flags);
  } catch (error) {
    // root is not refused for modes; and root must not change those of whatever takes this one's place meanwhile
    if (!isRefused(error) || process.geteuid?.() === 0) throw error;
    chmodSync(path, 0o700);
    return openSync(path, flags);
  }
}

/** Empties one directory. */
class Removal {
  private readonly root: number;
  private readonly rootPath: string;
  private readonly device: number;
  private readonly byDescriptor = existsSync(descriptors);
  private moved = 0;
  private failure: unknown;
  private readonly mounts: ReadonlySet<string>;

  /** `path`: where it is, as bytes. */
  constructor(root: number, path: string) {
    this.root = root;
    this.rootPath = this.placeOf(root, path);
    this.device = fstatSync(root).dev;
    this.mounts = mountPointsBelow(path);
  }

  run(): void {
    // What was moved up from the depths waits in the root, so it is looked at until nothing new has come.
    let before: number;
    do {
      before = this.moved;
      this.empty(this.root, this.rootPath, 0);
    } while (this.moved > before);
    if (this.failure) throw this.failure;
  }

  /** A path by which the directory that is open is found, and no other. */
  private placeOf(file: number, path: string): string {
    return this.byDescriptor ? `${descriptors}/${file}` : path;
  }

  private empty(file: number, place: string, depth: number): void {
    const entries = this.attempt(file, () =>
      readdirSync(toFsPath(place), { withFileTypes: true, encoding: "latin1" as "utf8" }),
    );
    for (const entry of entries ?? []) {
      const path = `${place}/${entry.name}`;
      if (!entry.isDirectory()) this.attempt(file, () => unlinkSync(toFsPath(path)));
      else if (depth > deepest || path.length > longestPath) this.moveUp(file, path);
      else this.attempt(file, () => this.remove(path, depth));
    }
  }

  private remove(path: string, depth: number): void {
    const file = openDirectory(toFsPath(path));
    try {
      // what is mounted here is not ours to empty; the directory itself cannot go then
      const isMounted = fstatSync(file).dev !== this.device || this.isMountPoint(file);
      if (isMounted) throw new WorkerFault("obstructed", "another file system is mounted in the trash");
      this.empty(file, this.placeOf(file, path), depth + 1);
    } finally {
      closeSync(file);
    }
    rmdirSync(toFsPath(path));
  }

  /** Of the same file system: its number tells nothing then. */
  private isMountPoint(file: number): boolean {
    if (this.mounts.size === 0 || !this.byDescriptor) return false;
    return this.mounts.has(readlinkSync(`${descriptors}/${file}`, "latin1"));
  }

  private moveUp(file: number, path: string): void {
    const place = `${this.rootPath}/deep-${process.pid}-${Date.now().toString(36)}-${this.moved + 1}`;
    this.attempt(file, () => {
      closeSync(openDirectory(toFsPath(path)));
      renameSync(toFsPath(path), toFsPath(place));
      // only what has moved is looked at again: what refuses to would be for ever
      this.moved += 1;
    });
  }

  /** Does it, once more with the directory made accessible if it was refused; notes a failure instead of throwing. */
  private attempt<T>(directory: number, work: () => T): T | undefined {
    try {
      try {
        return work();
      } catch (error) {
        if (!isRefused(error)) throw error;
        fchmodSync(directory, 0o700);
        return work();
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") this.failure ??= error;
      return undefined;
    }
  }
}

function isRefused(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "EACCES" || code === "EPERM";
}
