/**
 * Owns who this process acts as: the server, or in the two-uid layout, for whatever is done inside a workspace, the
 * user whose jobs run there.
 *
 * Invariants:
 * 1. Acting as the holder's user, this process may do what that user may, and nothing else: the kernel checks, whatever a
 *    process of that user puts in the way at the very moment.
 * 2. It is the server again when the work ends, however it ends; if that cannot be, the process ends.
 * 3. Without a holder's user, which is the one-uid layout, nothing is ever changed.
 *
 * The effective ids are of the whole process: libc sets them for all threads, those of libgit2 included. A worker does
 * one thing at a time, so nothing else runs meanwhile.
 */
import { lchownSync, lstatSync } from "node:fs";
import { holderVariable } from "../../protocol.js";

export interface User {
  readonly uid: number;
  readonly gid: number;
}

const configured = /^(\d+):(\d+)$/.exec(process.env[holderVariable] ?? "");
/** Undefined in the one-uid layout. */
export const holder: User | undefined = configured
  ? { uid: Number(configured[1]), gid: Number(configured[2]) }
  : undefined;

const own = { uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1, groups: process.getgroups?.() ?? [] };
/** Undefined: the server. */
let acting: User | undefined;

/** The uid of whoever holds workspaces. */
export function holderUid(): number {
  return holder?.uid ?? own.uid;
}

/** Does something inside a workspace. */
export function asHolder<T>(work: () => T): T {
  return as(holder, work);
}

/** Does something that only the server may, in the midst of what is done inside a workspace. */
export function asServer<T>(work: () => T): T {
  return as(undefined, work);
}

/** Reads in a directory as its owner: it may be of another layout than that of today. */
export function asOwnerOf<T>(directory: string, work: () => T): T {
  if (!holder) return work();
  const { uid, gid } = lstatSync(directory);
  return as(uid === own.uid ? undefined : { uid, gid }, work);
}

/** Gives what the server has made to the holder's user. Nobody else may be able to reach it yet, or to replace it. */
export function giveToHolder(path: string): void {
  if (holder) lchownSync(path, holder.uid, holder.gid);
}

function as<T>(user: User | undefined, work: () => T): T {
  const before = acting;
  if (before?.uid === user?.uid) return work();
  become(user);
  let result: T;
  try {
    result = work();
  } catch (error) {
    become(before);
    throw error;
  }
  if (!(result instanceof Promise)) {
    become(before);
    return result;
  }
  return result.finally(() => become(before)) as T;
}

/** Invariant 2: from one user to another, by way of the server. */
function become(user: User | undefined): void {
  try {
    if (acting) {
      process.seteuid?.(own.uid);
      process.setegid?.(own.gid);
      process.setgroups?.(own.groups);
    }
    if (user) {
      process.setgroups?.([user.gid]);
      process.setegid?.(user.gid);
      process.seteuid?.(user.uid);
    }
    acting = user;
  } catch (error) {
    process.stderr.write(`cannot change between users: ${String(error)}\n`);
    process.kill(process.pid, "SIGKILL");
    throw error;
  }
}
