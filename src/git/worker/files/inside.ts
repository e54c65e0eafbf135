/**
 * Owns reading files below a directory that a holder may still be changing, as data.
 *
 * Invariants:
 * 1. What is read lies below the directory: no symlink is followed at any component, also not one that takes a
 *    directory's place while it is being opened. Where the system tells what was opened (Linux), that is compared;
 *    elsewhere every component is looked at right before.
 * 2. Only regular files are opened, so nothing waits for a pipe or wakes a device.
 * 3. Nothing is changed.
 */
import {
  closeSync,
  constants,
  type Dirent,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
  type Stats,
} from "node:fs";
import { toFsPath } from "./byte-path.js";
import { isHostFault } from "./fault.js";

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY } = constants;
const descriptors = "/proc/self/fd";

export interface OpenFile {
  readonly file: number;
  readonly stat: Stats;
}

/** A file that is larger than the caller takes. */
export class TooLarge extends Error {
  override readonly name = "TooLarge";
}

export class Inside {
  /** Byte path without symlinks. */
  readonly root: string;

  constructor(path: string) {
    this.root = realpathSync(path, "buffer").toString("latin1");
  }

  /** Opens a regular file at a byte path; undefined if there is none. The caller closes it. */
  open(relative: string): OpenFile | undefined {
    const file = this.openAny(relative, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (file === undefined) return undefined;
    const stat = fstatSync(file);
    if (stat.isFile()) return { file, stat };
    closeSync(file);
    return undefined;
  }

  /** The whole file; undefined if there is none. Throws `TooLarge`. */
  read(relative: string, mostBytes: number): { readonly bytes: Buffer; readonly stat: Stats } | undefined {
    const opened = this.open(relative);
    if (!opened) return undefined;
    try {
      if (opened.stat.size > mostBytes) throw new TooLarge(`${opened.stat.size} bytes`);
      return { bytes: readAt(opened.file, 0, opened.stat.size), stat: opened.stat };
    } finally {
      closeSync(opened.file);
    }
  }

  /** The first bytes of a file, `length` at most; undefined if there is none. */
  readStart(relative: string, length: number): Buffer | undefined {
    const opened = this.open(relative);
    if (!opened) return undefined;
    try {
      return readAt(opened.file, 0, length);
    } finally {
      closeSync(opened.file);
    }
  }

  /** Where a symlink points; undefined if there is none. */
  readLink(relative: string): Buffer | undefined {
    const slash = relative.lastIndexOf("/");
    return this.inDirectory(relative.slice(0, Math.max(slash, 0)), (directory) => {
      try {
        return readlinkSync(toFsPath(`${directory}/${relative.slice(slash + 1)}`), "buffer");
      } catch {
        return undefined;
      }
    });
  }

  /** Entries of a directory, their names as bytes; undefined if there is none. Throws where it may not be read. */
  list(relative: string): Dirent[] | undefined {
    return this.inDirectory(relative, (directory) =>
      readdirSync(toFsPath(directory), { withFileTypes: true, encoding: "latin1" as "utf8" }),
    );
  }

  /** By the path alone: for what is opened before it is believed. */
  stat(relative: string): Stats | undefined {
    try {
      return lstatSync(toFsPath(this.at(relative)), { throwIfNoEntry: false });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOTDIR" || code === "ELOOP") return undefined;
      throw error;
    }
  }

  isDirectory(relative: string): boolean {
    return this.inDirectory(relative, () => true) ?? false;
  }

  private inDirectory<T>(relative: string, work: (directory: string) => T): T | undefined {
    const file = this.openAny(relative, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_DIRECTORY);
    if (file === undefined) return undefined;
    try {
      return work(existsSync(descriptors) ? `${descriptors}/${file}` : this.at(relative));
    } finally {
      closeSync(file);
    }
  }

  private at(relative: string): string {
    return relative === "" ? this.root : `${this.root}/${relative}`;
  }

  /** Invariant 1. */
  private openAny(relative: string, flags: number): number | undefined {
    const path = this.at(relative);
    let file: number;
    try {
      file = openSync(toFsPath(path), flags);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // a failing disk must not make what is there look as if it were not
      if (isHostFault(error) || code === "EACCES" || code === "EPERM") throw error;
      return undefined;
    }
    if (this.opened(file, relative) === path) return file;
    closeSync(file);
    return undefined;
  }

  /** The path of what was opened, as far as can be known. */
  private opened(file: number, relative: string): string | undefined {
    try {
      return readlinkSync(`${descriptors}/${file}`, "buffer").toString("latin1");
    } catch {
      let above = this.root;
      for (const name of relative.split("/").slice(0, -1)) {
        above += `/${name}`;
        if (!lstatSync(toFsPath(above), { throwIfNoEntry: false })?.isDirectory()) return undefined;
      }
      return this.at(relative);
    }
  }
}

/** Reads up to `length` bytes; fewer where the file ends. */
export function readAt(file: number, position: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let read = 0;
  while (read < length) {
    const got = readSync(file, bytes, read, length - read, position + read);
    if (got === 0) break;
    read += got;
  }
  return bytes.subarray(0, read);
}
