/**
 * Owns what the kernel tells of processes in `/proc`: who they are, since when, what they have open.
 *
 * Invariants:
 * 1. Only links and texts of `/proc` are read; nothing that a process has open is opened.
 * 2. That something may not be read is told apart from that it is not there.
 */
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";

const proc = "/proc";
/** Clock ticks a second in what the kernel tells programs, on every architecture. */
const ticksPerSecond = 100;

/** One for all, since a look takes hundreds of texts, and few are larger. */
let buffer = Buffer.alloc(64 * 1024);

/** Reads of one process, and whether any of them was refused. */
export class ProcessReader {
  wasRefused = false;

  link(path: string): string {
    try {
      return readlinkSync(path);
    } catch (error) {
      this.note(error);
      return "";
    }
  }

  text(path: string): string {
    let file: number;
    try {
      file = openSync(path, "r");
    } catch (error) {
      this.note(error);
      return "";
    }
    try {
      let length = 0;
      for (let read = -1; read !== 0; length += read) {
        if (length === buffer.length) buffer = Buffer.concat([buffer, Buffer.alloc(length)]);
        read = readSync(file, buffer, length, buffer.length - length, null);
      }
      return buffer.toString("latin1", 0, length);
    } catch (error) {
      // it has ended meanwhile
      this.note(error);
      return "";
    } finally {
      closeSync(file);
    }
  }

  names(directory: string): string[] {
    try {
      return readdirSync(directory);
    } catch (error) {
      this.note(error);
      return [];
    }
  }

  private note(error: unknown): void {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") this.wasRefused = true;
  }
}

export function processIds(): number[] {
  try {
    return readdirSync(proc).flatMap((name) => (/^[1-9]\d*$/.test(name) ? [Number(name)] : []));
  } catch {
    return [];
  }
}

/** Also one that has ended and was not waited for yet. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

export function placeOf(pid: number): string {
  return `${proc}/${pid}`;
}

/** The directories in `/proc` of a process's further threads, which may have files and a directory of their own. */
export function furtherThreads(pid: number): string[] {
  const tasks = `${proc}/${pid}/task`;
  // two links and one for each thread: that spares listing it for most
  const stat = lstatSync(tasks, { throwIfNoEntry: false });
  if (!stat || stat.nlink <= 3) return [];
  return new ProcessReader()
    .names(tasks)
    .filter((name) => name !== String(pid))
    .map((name) => `${tasks}/${name}`);
}

/** When a process began, in ticks since the machine did: with its id, its identity. Undefined if it has ended. */
export function beginOf(pid: number): number | undefined {
  const text = new ProcessReader().text(`${proc}/${pid}/stat`);
  // the second field is its name in parentheses, and may hold any character
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const begin = Number(fields[19]);
  const hasEnded = text === "" || Number.isNaN(begin) || fields[0] === "X" || (fields[0] === "Z" && isAlone(pid));
  return hasEnded ? undefined : begin;
}

/** A process whose first thread has ended lives on in the others. */
function isAlone(pid: number): boolean {
  return (lstatSync(`${proc}/${pid}/task`, { throwIfNoEntry: false })?.nlink ?? 0) <= 3;
}

/** In ms since the epoch, to the second: the kernel tells no better. */
export function timeOfBegin(begin: number): number {
  const booted = /^btime (\d+)$/m.exec(new ProcessReader().text(`${proc}/stat`))?.[1];
  return Number(booted ?? 0) * 1000 + (begin * 1000) / ticksPerSecond;
}

/** Real, effective, saved and file system uid. */
export function uidsOf(pid: number): readonly number[] {
  const line = /^Uid:\s+(.*)$/m.exec(new ProcessReader().text(`${proc}/${pid}/status`))?.[1];
  return line?.split(/\s+/).map(Number) ?? [];
}

/** Without control characters. */
export function commandOf(pid: number): string {
  return new ProcessReader().text(`${proc}/${pid}/comm`).replace(/[\x00-\x1f\x7f]/g, "");
}

/** Whoever started a process, and whoever started them, as far as they still run. */
export function ancestorsOf(pid: number): number[] {
  const found: number[] = [];
  for (let at = parentOf(pid); at > 0 && !found.includes(at); at = parentOf(at)) found.push(at);
  return found;
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(new ProcessReader().text(`${proc}/${pid}/status`))?.[1] ?? 0);
}
