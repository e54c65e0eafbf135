// Owns: that one set-up at a time changes a checkout.
//
// 1. The lock is a file with its holder's process id. One whose holder is gone is taken over, by exactly one.
// 2. It is held as well by the program that its holder runs, which may outlive a holder that is killed: two compilers
//    never write to one directory.
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { during } from "./progress.mjs";

const lookEveryMs = 200;

/** @type {string | undefined} */
let held;

/**
 * Names a program that the lock's holder runs now, or that there is none any more. Without a lock it does nothing.
 * @param {number | undefined} pid
 */
export function holdLockFor(pid) {
  if (held !== undefined) {
    const fresh = `${held}.${process.pid}`;
    writeFileSync(
      fresh,
      [process.pid, pid]
        .filter((part) => part !== undefined)
        .map(identity)
        .join("\n"),
      { mode: 0o600 },
    );
    renameSync(fresh, held);
  }
}

/**
 * Runs `work` while no other process holds the lock.
 * @template T
 * @param {string} file
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(file, work) {
  if (!take(file)) {
    await during("waiting for another set-up of this checkout", async () => {
      while (!take(file)) {
        const holder = read(file);
        if (holder !== undefined && !isAlive(holder)) {
          removeOf(file, holder);
        } else {
          await delay(lookEveryMs);
        }
      }
    });
  }
  held = file;
  try {
    return await work();
  } finally {
    held = undefined;
    rmSync(file, { force: true });
  }
}

/** Appears with its content or not at all, so that nobody takes one that is being written for an abandoned one. */
function take(file) {
  const own = `${file}.${process.pid}`;
  writeFileSync(own, identity(process.pid), { mode: 0o600 });
  try {
    linkSync(own, file);
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") {
      throw error;
    }
    return false;
  } finally {
    rmSync(own, { force: true });
  }
}

function read(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function removeOf(file, holder) {
  const aside = `${file}.${process.pid}.old`;
  try {
    renameSync(file, aside);
  } catch {
    return; // another one was first
  }
  if (read(aside) !== holder) {
    try {
      linkSync(aside, file); // it was a new holder's: give it back
    } catch {}
  }
  rmSync(aside, { force: true });
}

function isAlive(holder) {
  return holder.split("\n").some((line) => {
    const pid = Number.parseInt(line, 10);
    try {
      process.kill(pid, 0);
    } catch (error) {
      return error.code === "EPERM";
    }
    return identity(pid) === line; // a process id may be in use again
  });
}

function identity(pid) {
  return `${pid} ${startOf(pid)}`;
}

/** When a process started, in ticks since boot; the same word for all where the system does not tell. */
function startOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "unknown";
  } catch {
    return "unknown";
  }
}
