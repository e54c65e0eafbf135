/**
 * Owns comparing every path of a working tree with an index: kind, mode, content, and that nothing else is there.
 *
 * Invariants:
 * 1. No symlink is followed, no pipe or device is opened, no other file system is entered.
 * 2. A file passes by its stat alone only if every field is the index's and its times are older than the trusted copy;
 *    otherwise, and whenever `deep` is asked for, its bytes are hashed.
 */
import { createHash } from "node:crypto";
import { constants, lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from "node:fs";
import { toBytePath, toFsPath } from "./byte-path.js";
import type { Findings } from "./findings.js";
import type { IndexFile } from "./index-file.js";
import { fileDigest } from "./lfs-store.js";

const kind = { mask: 0o170000, file: 0o100000, link: 0o120000, submodule: 0o160000 } as const;
const executable = 0o100;

export interface FileTrust {
  /** When the trusted copy of the index was written. */
  readonly trustedMs: number;
  readonly deep: boolean;
  /** Byte paths of submodules that are filled, and another's to judge. */
  readonly submodules?: ReadonlySet<string>;
  /** By byte path: the SHA-256 of files whose contents Git LFS has. */
  readonly lfs?: ReadonlyMap<string, string>;
}

/** Answers how many paths were compared. `.git` at the top is another's to judge. */
export function verifyFiles(root: string, index: IndexFile, trust: FileTrust, findings: Pick<Findings, "add">): number {
  const positions = new Map<string, number>();
  const directories = new Set<string>([""]);
  for (const [position, path] of index.paths.entries()) {
    positions.set(path, position);
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
      const above = path.slice(0, at);
      if (directories.has(above)) break;
      directories.add(above);
    }
  }
  const base = toBytePath(root);
  const umask = process.umask();
  const device = lstatSync(root).dev;
  const seen = new Uint8Array(index.length);
  const pending = [""];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    const place = at === "" ? base : `${base}/${at}`;
    const stat = lstatSync(toFsPath(place));
    if (stat.dev !== device) findings.add(`${shown(at)}: another file system is mounted`);
    if ((stat.mode & 0o7777) !== (0o777 & ~umask)) findings.add(`${shown(at)}: mode of a directory`);
    let names: string[];
    try {
      names = readdirSync(toFsPath(place), { encoding: "latin1" });
    } catch (error) {
      findings.add(`${shown(at)}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
      continue;
    }
    for (const name of names) {
      if (at === "" && name === ".git") continue;
      const path = at === "" ? name : `${at}/${name}`;
      const position = positions.get(path);
      const entry = lstatSync(toFsPath(`${base}/${path}`));
      if (position === undefined) {
        if (entry.isDirectory() && directories.has(path)) pending.push(path);
        else findings.add(`${shown(path)}: is not of the commit`);
        continue;
      }
      seen[position] = 1;
      const fault = faultOf(toFsPath(`${base}/${path}`), entry, index, position, trust, umask);
      if (fault) findings.add(`${shown(path)}: ${fault}`);
    }
  }
  for (const [position, path] of index.paths.entries()) if (!seen[position]) findings.add(`${shown(path)}: is missing`);
  return index.length;
}

function faultOf(
  path: string | Buffer,
  now: Stats,
  index: IndexFile,
  position: number,
  trust: FileTrust,
  umask: number,
): string | undefined {
  const mode = index.mode(position);
  const wanted = mode & kind.mask;
  if (wanted === kind.submodule) {
    if (!now.isDirectory()) return "is no directory";
    if (trust.submodules?.has(index.paths[position] as string)) return undefined;
    return readdirSync(path).length === 0 ? undefined : "a submodule that is not empty";
  }
  if (wanted === kind.link ? !now.isSymbolicLink() : !now.isFile()) return "is of another kind";
  if (wanted === kind.file) {
    const permissions = (mode & executable ? 0o777 : 0o666) & ~umask;
    if ((now.mode & 0o7777) !== permissions) return "mode";
    if (now.nlink !== 1) return "has other names";
  }
  const then = index.stat(position);
  const isSame =
    now.ctimeMs === then.ctimeMs &&
    now.mtimeMs === then.mtimeMs &&
    now.size % 2 ** 32 === then.size &&
    now.ino % 2 ** 32 === then.ino &&
    now.uid === then.uid &&
    now.gid === then.gid;
  if (!isSame) return "has been touched";
  if (!trust.deep && now.ctimeMs < trust.trustedMs && now.mtimeMs < trust.trustedMs) return undefined;
  const content = trust.lfs?.get(index.paths[position] as string);
  if (content !== undefined) {
    return fileDigest(path, constants.O_RDONLY | constants.O_NOFOLLOW) === content ? undefined : "content";
  }
  const bytes = wanted === kind.link ? readlinkSync(path, "buffer") : readFileSync(path);
  const id = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  return id === index.id(position) ? undefined : "content";
}

/** A byte path for people. */
function shown(path: string): string {
  return path === "" ? "." : JSON.stringify(Buffer.from(path, "latin1").toString("utf8")).slice(1, -1);
}
