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
import { toBytePath, toFsPath, toShown } from "../files/byte-path.js";
import { isHostFault } from "../files/fault.js";
import { mountsBelow } from "../files/mounts-inside.js";
import type { IndexFile } from "../index/index-file.js";
import type { Findings } from "./findings.js";

const kind = { mask: 0o170000, file: 0o100000, link: 0o120000, submodule: 0o160000 } as const;
const executable = 0o100;
const setGroup = 0o2000;

export interface FileTrust {
  /** When the trusted copy of the index was written. */
  readonly trustedMs: number;
  readonly deep: boolean;
  /** Byte paths of submodules that are filled, and another's to judge. */
  readonly submodules?: ReadonlySet<string>;
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

/** A directory of the index. */
interface Entered {
  /** Undefined if it may not, or cannot, be looked into. */
  readonly names: readonly string[] | undefined;
  /** How many names it is to have. */
  expected: number;
  /** Something that is to be there is not. */
  lacks: boolean;
}

/** Answers the positions of files whose bytes are to be compared. `.git` at the top is another's to judge. */
export function verifyFiles(
  root: string,
  index: IndexFile,
  trust: FileTrust,
  findings: Pick<Findings, "add">,
): number[] {
  const base = toBytePath(root);
  const making = makingIn(root);
  const mounts = new Set(mountsBelow(root));
  const top = lstatSync(toFsPath(base));
  const entered = new Map<string, Entered>();
  const nowhere: Entered = { names: undefined, expected: 0, lacks: false };
  const add = (path: string, fault: string): void => findings.add(`${toShown(path)}: ${fault}`);

  const look = (path: string, stat: Stats | undefined): Entered => {
    if (!stat?.isDirectory()) {
      add(path, stat ? "is no directory" : "is missing");
      return { ...nowhere, lacks: stat === undefined };
    }
    const fault = faultOfDirectory(stat, making);
    if (fault) add(path, fault);
    if (stat.dev !== top.dev || mounts.has(path)) {
      findings.add(`another file system is mounted at ${toShown(path)}`);
      return { ...nowhere };
    }
    return { names: namesIn(placeOf(base, path), path, findings), expected: path === "" ? 1 : 0, lacks: false };
  };
  /** Enters the directories above first, so that nothing is looked at through one that is none. */
  const enter = (path: string): Entered => {
    const known = entered.get(path);
    if (known) return known;
    const above = path === "" ? undefined : enter(path.slice(0, Math.max(path.lastIndexOf("/"), 0)));
    let directory = nowhere;
    if (!above || above.names) {
      const stat = path === "" ? top : lstatSync(toFsPath(placeOf(base, path)), { throwIfNoEntry: false });
      directory = look(path, stat);
      if (above && directory.lacks) above.lacks = true;
      else if (above) above.expected += 1;
      directory.lacks = false;
    }
    entered.set(path, directory);
    return directory;
  };

  const unproven: number[] = [];
  const once = { throwIfNoEntry: false } as const;
  let last = "";
  let directory = enter("");
  for (const [position, path] of index.paths.entries()) {
    const slash = path.lastIndexOf("/");
    if (slash !== last.length || !path.startsWith(last)) {
      last = path.slice(0, Math.max(slash, 0));
      directory = enter(last);
    }
    if (!directory.names) continue;
    const place = `${base}/${path}`;
    const stat = lstatSync(toFsPath(place), once);
    if (!stat) {
      directory.lacks = true;
      add(path, "is missing");
      continue;
    }
    directory.expected += 1;
    const fault = faultOfFile(stat, index, position, making);
    if (mounts.size > 0 && mounts.has(path)) findings.add(`another file system is mounted at ${toShown(path)}`);
    else if (fault === "submodule") {
      verifySubmodule({ place, path, stat }, making, trust.submodules?.has(path) ?? false, findings);
    } else if (fault) add(path, fault);
    else if (trust.deep || !(stat.ctimeMs < trust.trustedMs && stat.mtimeMs < trust.trustedMs)) unproven.push(position);
  }
  findStrangers(index, entered, add);
  return unproven;
}

/** A directory has strangers where it has more names than are to be there, or some of those are not. */
function findStrangers(
  index: IndexFile,
  entered: ReadonlyMap<string, Entered>,
  add: (path: string, fault: string) => void,
): void {
  const expected = new Map<string, Set<string>>();
  for (const [path, directory] of entered) {
    const isRight = !directory.names || (!directory.lacks && directory.names.length === directory.expected);
    if (!isRight) expected.set(path, new Set(path === "" ? [".git"] : []));
  }
  if (expected.size === 0) return;
  const expect = (path: string): void => {
    const slash = path.lastIndexOf("/");
    expected.get(path.slice(0, Math.max(slash, 0)))?.add(path.slice(slash + 1));
  };
  for (const path of entered.keys()) if (path !== "") expect(path);
  for (const path of index.paths) expect(path);
  for (const [path, names] of expected) {
    for (const name of entered.get(path)?.names ?? []) {
      if (!names.has(name)) add(path === "" ? name : `${path}/${name}`, "is not of the commit");
    }
  }
}

function placeOf(base: string, path: string): string {
  return path === "" ? base : `${base}/${path}`;
}

/** Undefined if nothing is wrong with it but perhaps its content; `submodule` if it is to be one. */
function faultOfFile(now: Stats, index: IndexFile, position: number, making: Making): string | undefined {
  const mode = index.mode(position);
  const wanted = mode & kind.mask;
  if (wanted === kind.submodule) return "submodule";
  if (wanted === kind.link ? !now.isSymbolicLink() : !now.isFile()) return "is of another kind";
  if (now.uid !== making.uid) return "belongs to another user";
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
  return stat.uid === making.uid && stat.gid === making.gid ? undefined : "belongs to another user";
}

/** It is to be a directory, empty unless it is filled. */
function verifySubmodule(
  { place, path, stat }: { readonly place: string; readonly path: string; readonly stat: Stats },
  making: Making,
  isFilled: boolean,
  findings: Pick<Findings, "add">,
): void {
  if (!stat.isDirectory()) return findings.add(`${toShown(path)}: is no directory`);
  const fault = faultOfDirectory(stat, making);
  if (fault) findings.add(`${toShown(path)}: ${fault}`);
  if (!isFilled && namesIn(place, path, findings).length > 0)
    findings.add(`${toShown(path)}: a submodule that is not empty`);
}

function namesIn(place: string, path: string, findings: Pick<Findings, "add">): string[] {
  try {
    return readdirSync(toFsPath(place), { encoding: "latin1" });
  } catch (error) {
    if (isHostFault(error)) throw error;
    findings.add(`${toShown(path)}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
    return [];
  }
}
