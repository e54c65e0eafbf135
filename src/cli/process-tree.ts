/** Owns what is known of processes: who descends from whom, and whether the terminal speaks to this one. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  /** Process group in the foreground of its terminal; -1 or 0 without a terminal. */
  readonly foreground: number;
}

/** The process and all that descend from it, itself first; those that were given away to init are not found. */
export function withDescendants(root: number): number[] {
  const all = processes();
  const found = [root];
  for (const pid of found) {
    for (const entry of all) if (entry.parent === pid && !found.includes(entry.pid)) found.push(entry.pid);
  }
  return found;
}

/** Whether this process is in the foreground of a terminal, so that Ctrl-C there reaches it and its whole group. */
export function inForeground(): boolean {
  const own = processes(process.pid).find((entry) => entry.pid === process.pid);
  return own !== undefined && own.foreground > 0 && own.foreground === own.group;
}

/** All processes, or only `pid` where that is cheaper. */
function processes(pid?: number): ProcessEntry[] {
  if (process.platform !== "linux") return listedByPs();
  const names = pid === undefined ? readdirSync("/proc").filter((name) => /^\d+$/.test(name)) : [String(pid)];
  return names.flatMap((name) => {
    try {
      // The command's name, in parentheses, may hold anything; the numbers follow its last parenthesis.
      const stat = readFileSync(`/proc/${name}/stat`, "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const [parent, group, foreground] = [fields[1], fields[2], fields[5]].map(Number) as [number, number, number];
      return [{ pid: Number(name), parent, group, foreground }];
    } catch {
      return [];
    }
  });
}

function listedByPs(): ProcessEntry[] {
  const text = execFileSync("ps", ["-A", "-o", "pid=,ppid=,pgid=,tpgid="], { encoding: "utf8" });
  return text
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number) as [number, number, number, number])
    .map(([pid, parent, group, foreground]) => ({ pid, parent, group, foreground }));
}
