/**
 * Owns comparing every path of a working tree with an index: kind, permissions, owner, and that nothing else is there.
 *
 * Invariants:
 * 1. No symlink is followed, no pipe or device is opened, no other file system is entered.
 * 2. A file passes by its stat alone only if every field is the index's and its times are older than the trusted copy;
 *    otherwise, and whenever `deep` is asked for, its bytes are to be compared: the answer names it.
 */
import { lstatSync, readdirSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { toBytePath, toFsPath, toShown } from "./byte-path.js";
import type { Findings } from "./findings.js";
import type { IndexFile } from "./index-file.js";
import { mountsBelow } from "./mounts.js";

const kind = { mask: 0o170000, file: 0o100000, link: 0o120000, submodule: 0o160000 } as const;
const executable = 0o100;
const setGroup = 0o2000;

export interface FileTrust {
  /** When the trusted copy of the index was written. */
  readonly trustedMs: number;
  readonly deep: boolean;
}

/** What a new directory is made with here. */
export interface Making {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly umask: number;
}

/** Who makes files and directories in `path`, and with which permissions. */
export function makingIn(path: string): Making {
  const umask = process.umask();
  const above = lstatSync(dirname(path));
  const inherits = (above.mode & setGroup) !== 0;
  const gid = inherits ? above.gid : (process.getegid?.() ?? above.gid);
  return { mode: (0o777 & ~umask) | (above.mode & setGroup), uid: process.geteuid?.() ?? above.uid, gid, umask };
}

interface Directory {
  readonly files: Map<string, number>;
  readonly directories: Map<string, Directory>;
}

interface Pending {
  readonly path: string;
  readonly expected: Directory;
}

/** Answers the positions of files whose bytes are to be compared. `.git` at the top is another's to judge. */
export function verifyFiles(root: string, index: IndexFile, trust: FileTrust, findings: Findings): number[] {
  const base = toBytePath(root);
  const making = makingIn(root);
  const mounts = new Set(mountsBelow(root));
  const top = lstatSync(toFsPath(base));
  const seen = new Uint8Array(index.length);
  const unproven: number[] = [];
  const pending: Pending[] = [];
  const enter = (path: string, expected: Directory, stat: Stats): void => {
    const fault = faultOfDirectory(stat, making);
    if (fault) findings.add(`${toShown(path)}: ${fault}`);
    if (stat.dev === top.dev && !mounts.has(path)) pending.push({ path, expected });
    else findings.add(`another file system is mounted at ${toShown(path)}`);
  };
  enter("", expectedOf(index), top);
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    const { path: above, expected } = at;
    const place = above === "" ? base : `${base}/${above}`;
    for (const name of namesIn(place, above, findings)) {
      if (above === "" && name === ".git") continue;
      const path = above === "" ? name : `${above}/${name}`;
      const position = expected.files.get(name);
      const directory = position === undefined ? expected.directories.get(name) : undefined;
      if (position === undefined && !directory) {
        findings.add(`${toShown(path)}: is not of the commit`);
        continue;
      }
      const stat = lstatSync(toFsPath(`${place}/${name}`), { throwIfNoEntry: false });
      if (!stat) continue;
      if (directory) {
        if (stat.isDirectory()) enter(path, directory, stat);
        else findings.add(`${toShown(path)}: is no directory`);
      } else if (position !== undefined) {
        seen[position] = 1;
        const fault = faultOfFile(stat, index, position, making);
        if (fault === "submodule") verifySubmodule(`${place}/${name}`, path, stat, making, findings);
        else if (fault) findings.add(`${toShown(path)}: ${fault}`);
        else if (mounts.has(path)) findings.add(`another file system is mounted at ${toShown(path)}`);
        else if (trust.deep || !(stat.ctimeMs < trust.trustedMs && stat.mtimeMs < trust.trustedMs)) {
          unproven.push(position);
        }
      }
    }
  }
  for (let position = 0; position < seen.length; position++) {
    if (!seen[position]) findings.add(`${toShown(index.paths[position] as string)}: is missing`);
  }
  return unproven;
}

function expectedOf(index: IndexFile): Directory {
  const make = (): Directory => ({ files: new Map(), directories: new Map() });
  const top = make();
  let last = "";
  let directory = top;
  for (const [position, path] of index.paths.entries()) {
    const slash = path.lastIndexOf("/");
    // The order of the index keeps the files of a directory together, but for those of directories below.
    if (slash !== last.length || !path.startsWith(last)) {
      last = path.slice(0, Math.max(slash, 0));
      directory = top;
      for (const name of last === "" ? [] : last.split("/")) {
        let below = directory.directories.get(name);
        if (!below) {
          below = make();
          directory.directories.set(name, below);
        }
        directory = below;
      }
    }
    directory.files.set(path.slice(slash + 1), position);
  }
  return top;
}

/** Undefined if nothing is wrong with it but perhaps its content; `submodule` if it is to be one. */
function faultOfFile(now: Stats, index: IndexFile, position: number, making: Making): string | undefined {
  const mode = index.mode(position);
  const wanted = mode & kind.mask;
  if (wanted === kind.submodule) return "submodule";
  if (wanted === kind.link ? !now.isSymbolicLink() : !now.isFile()) return "is of another kind";
  if (wanted === kind.file) {
    const permissions = (mode & executable ? 0o777 : 0o666) & ~making.umask;
    if ((now.mode & 0o7777) !== permissions) return "has other permissions";
  }
  if (now.nlink !== 1) return "has other names";
  const then = index.stat(position);
  const isSame =
    now.ctimeMs === then.ctimeMs &&
    now.mtimeMs === then.mtimeMs &&
    now.size % 2 ** 32 === then.size &&
    now.ino % 2 ** 32 === then.ino &&
    now.uid === then.uid &&
    now.gid === then.gid;
  return isSame ? undefined : "has been touched";
}

function faultOfDirectory(stat: Stats, making: Making): string | undefined {
  if ((stat.mode & 0o7777) !== making.mode) return "a directory with other permissions";
  return stat.uid === making.uid && stat.gid === making.gid ? undefined : "a directory of another owner";
}

/** It is to be an empty directory. */
function verifySubmodule(place: string, path: string, stat: Stats, making: Making, findings: Findings): void {
  if (!stat.isDirectory()) return findings.add(`${toShown(path)}: is no directory`);
  const fault = faultOfDirectory(stat, making);
  if (fault) findings.add(`${toShown(path)}: ${fault}`);
  if (namesIn(place, path, findings).length > 0) findings.add(`${toShown(path)}: a submodule that is not empty`);
}

function namesIn(place: string, path: string, findings: Findings): string[] {
  try {
    return readdirSync(toFsPath(place), { encoding: "latin1" });
  } catch (error) {
    findings.add(`${toShown(path)}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
    return [];
  }
}
