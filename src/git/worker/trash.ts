/**
 * Owns moving things out of the way and removing them for good.
 *
 * Invariants:
 * 1. Nothing is removed where it stood: it is renamed into the trash, which costs the same whatever its size.
 * 2. Removal never follows a symlink, never enters another file system and never leaves the trash; modes, depth and odd names do not stop it.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { toBytePath, toFsPath } from "./byte-path.js";
import { WorkerFault } from "./fault.js";
import { mountPointsBelow } from "./mounts-inside.js";
import { describeRefusal } from "./obstruction.js";

/** Below this the kernel takes every path (PATH_MAX is 4096); what is deeper is moved up before it is removed. */
const longestPath = 3000;

/** One call's place in the trash; made when the first thing is taken. */
export class TrashBin {
  private readonly directory: string;
  private count = 0;

  constructor(trash: string) {
    this.directory = join(trash, `${Date.now().toString(36)}-${randomBytes(6).toString("hex")}`);
  }

  /** Moves `path` (bytes or text) into the trash. Its directory is made writable if it must be. */
  take(path: string | Buffer): void {
    const place = join(this.directory, String(this.count));
    this.count += 1;
    try {
      this.move(path, place);
    } catch (error) {
      if (!isRefused(error)) throw error;
      // Its parent refuses, or, for a directory, it does so itself: its ".." is to be rewritten.
      const text = typeof path === "string" ? path : path.toString("latin1");
      chmodSync(typeof path === "string" ? dirname(text) : Buffer.from(dirname(text), "latin1"), 0o755);
      if (lstatSync(path).isDirectory()) chmodSync(path, 0o700);
      this.move(path, place);
    }
  }

  /** Makes the directory if it is not there: it is not yet, or somebody has emptied the trash meanwhile. */
  private move(path: string | Buffer, place: string): void {
    try {
      renameSync(path, place);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      mkdirSync(this.directory, { recursive: true });
      renameSync(path, place);
    }
  }
}

/** Removes everything in `trash`. Goes on past failures and throws the first of them at the end. */
export function emptyTrash(trash: string): void {
  const stat = lstatSync(trash, { throwIfNoEntry: false });
  if (!stat?.isDirectory()) return;
  try {
    new Removal(toBytePath(trash)).run();
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
  new Removal(toBytePath(path)).run();
  rmdirSync(path);
}

/** Empties one directory. */
class Removal {
  private readonly root: string;
  private moved = 0;
  private failure: unknown;
  private readonly mounts: ReadonlySet<string>;

  constructor(root: string) {
    this.root = root;
    this.mounts = mountPointsBelow(root);
  }

  run(): void {
    // What was moved up from the depths waits in the root, so it is looked at until nothing new has come.
    let before: number;
    do {
      before = this.moved;
      this.empty(this.root);
    } while (this.moved > before);
    if (this.failure) throw this.failure;
  }

  private empty(directory: string): void {
    const entries = this.attempt(directory, () =>
      readdirSync(toFsPath(directory), { withFileTypes: true, encoding: "latin1" as "utf8" }),
    );
    for (const entry of entries ?? []) {
      const path = `${directory}/${entry.name}`;
      if (this.mounts.has(path))
        this.failure ??= new WorkerFault("obstructed", "another file system is mounted in the trash");
      else if (!entry.isDirectory()) this.attempt(directory, () => unlinkSync(toFsPath(path)));
      else if (path.length > longestPath && directory !== this.root) this.moveUp(path, directory);
      else {
        this.empty(path);
        this.attempt(directory, () => rmdirSync(toFsPath(path)));
      }
    }
  }

  private moveUp(path: string, directory: string): void {
    this.moved += 1;
    const place = `${this.root}/deep-${process.pid}-${Date.now().toString(36)}-${this.moved}`;
    chmodSync(toFsPath(path), 0o700);
    this.attempt(directory, () => renameSync(toFsPath(path), toFsPath(place)));
  }

  /** Does it, once more with `directory` made accessible if it was refused; notes a failure instead of throwing. */
  private attempt<T>(directory: string, work: () => T): T | undefined {
    try {
      try {
        return work();
      } catch (error) {
        if (!isRefused(error)) throw error;
        chmodSync(toFsPath(directory), 0o700);
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
