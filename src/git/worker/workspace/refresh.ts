/**
 * Owns bringing the remote-tracking refs of a workspace up to date that comes back to its binding: nothing else in it
 * changes, and nothing in its `.git` is obeyed.
 *
 * Invariants:
 * 1. Objects first, then `packed-refs`, then the loose refs that would hide it: a kill leaves older refs at worst.
 * 2. No symlink is followed; what is not as git makes it is left as it is, and its refs stay old.
 * 3. In the two-uid layout nothing is changed: the refs stay as old as they are.
 * 4. A lock of a git that runs, or was killed, is respected. Ours bears a mark from its first moment on, and is taken over
 *    by the next call, since only one works on a workspace at a time: a kill never leaves refs that cannot be written.
 */
import { linkSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RefreshWorkspaceRequest } from "../../../ports/git-engine.js";
import { toFsPath } from "../files/byte-path.js";
import { asHolder, holder } from "../files/holder.js";
import { Inside, TooLarge } from "../files/inside.js";
import { isDirectory } from "../files/place.js";
import { isObjectId, type RefTable, readRefs } from "../mirror/refs.js";
import { transferObjects } from "../objects/object-transfer.js";

const origin = "refs/remotes/origin/";
const heads = "refs/heads/";
/** What our lock says; git's are empty. */
const lockMark = "leasehold\n";
const cannotLink = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);
const mostBytes = 256 * 1024 * 1024;

export async function refreshWorkspace(request: RefreshWorkspaceRequest): Promise<"ready" | "broken"> {
  const { path, mirror, objectStorage } = request;
  if (!isDirectory(path)) return "broken";
  const inside = asHolder(() => new Inside(path));
  if (!asHolder(() => isRepository(inside))) return "broken";
  // a holders' user could put anything in the way of what only the server can link: its own git fetches
  if (holder) return "ready";
  // before the objects: what they need came before them
  const { refs } = readRefs(mirror);
  transferObjects({
    from: join(mirror, "objects"),
    to: join(path, ".git", "objects"),
    storage: objectStorage,
    lasting: true,
  });
  if (!replacePackedRefs(inside, refs)) return "ready";
  for (const name of looseRefs(inside, `.git/${origin.slice(0, -1)}`)) unlinkSync(toFsPath(`${inside.root}/${name}`));
  return "ready";
}

function isRepository(inside: Inside): boolean {
  const head = textOf(inside, ".git/HEAD")?.trim() ?? "";
  const isWhole = [".git/objects", ".git/objects/pack", ".git/refs"].every((name) => inside.isDirectory(name));
  return isWhole && (isObjectId(head) || head.startsWith(`ref: ${heads}`));
}

/** Invariant 4. False where the lock is git's. */
function replacePackedRefs(inside: Inside, refs: RefTable["refs"]): boolean {
  const packed = `${inside.root}/.git/packed-refs`;
  const lock = `${packed}.lock`;
  if (!takeLock(lock, `${packed}.leasehold-lock`)) {
    if (textOf(inside, ".git/packed-refs.lock") !== lockMark) return false;
    rmSync(toFsPath(lock));
    if (!takeLock(lock, `${packed}.leasehold-lock`)) return false;
  }
  try {
    const text = merged(textOf(inside, ".git/packed-refs") ?? "", refs);
    const made = `${packed}.leasehold-new`;
    writeNew(made, text);
    renameSync(toFsPath(made), toFsPath(packed));
  } finally {
    rmSync(toFsPath(lock), { force: true });
  }
  return true;
}

/** False if somebody has it. By a link, since that has its mark at once. */
function takeLock(lock: string, marked: string): boolean {
  writeNew(marked, lockMark);
  try {
    linkSync(toFsPath(marked), toFsPath(lock));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return false;
    if (!cannotLink.has(code ?? "")) throw error;
    return createLock(lock);
  } finally {
    rmSync(toFsPath(marked), { force: true });
  }
}

/** Where the file system has no links. */
function createLock(lock: string): boolean {
  try {
    writeFileSync(toFsPath(lock), lockMark, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Not through a symlink. */
function writeNew(path: string, text: string): void {
  rmSync(toFsPath(path), { force: true });
  writeFileSync(toFsPath(path), text, { flag: "wx", encoding: "latin1" });
}

/** The text of `packed-refs` with the mirror's branches in place of what it had for the origin. */
function merged(before: string, refs: RefTable["refs"]): string {
  const entries = new Map<string, string>();
  let last = "";
  for (const line of before.split("\n")) {
    const isRef = line[40] === " " && isObjectId(line.slice(0, 40));
    if (isRef) last = line.slice(41);
    const isPeeled = line.startsWith("^") && isObjectId(line.slice(1));
    if ((isRef || isPeeled) && last !== "" && !last.startsWith(origin)) {
      entries.set(last, `${entries.get(last) ?? ""}${line}\n`);
    }
  }
  for (const [name, ref] of refs) {
    if (!name.startsWith(heads)) continue;
    const bytes = Buffer.from(origin + name.slice(heads.length), "utf8").toString("latin1");
    entries.set(bytes, `${ref.id} ${bytes}\n`);
  }
  // what was not promised before is not promised now: that every ref that can be peeled is
  const isPeeled = before === "" || /^# pack-refs with:.* fully-peeled/.test(before);
  const sorted = [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return `${isPeeled ? "# pack-refs with: peeled fully-peeled sorted \n" : ""}${sorted.map(([, text]) => text).join("")}`;
}

/** Byte paths of the origin's loose refs but for its HEAD, which names one of them. */
function* looseRefs(inside: Inside, directory: string, below = ""): Generator<string> {
  for (const entry of inside.list(directory) ?? []) {
    const name = `${directory}/${entry.name}`;
    if (entry.isDirectory()) yield* looseRefs(inside, name, `${below}${entry.name}/`);
    else if (entry.isFile() && !(below === "" && entry.name === "HEAD")) yield name;
  }
}

/** As bytes; undefined if there is no such file, or none that git could have made. */
function textOf(inside: Inside, name: string): string | undefined {
  try {
    return inside.read(name, mostBytes)?.bytes.toString("latin1");
  } catch (error) {
    if (error instanceof TooLarge) return undefined;
    throw error;
  }
}
