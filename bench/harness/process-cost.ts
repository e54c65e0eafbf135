/** Owns what a process has cost so far, as Linux tells it; elsewhere NaN. Its own threads only, not its children. */
import { readFile } from "node:fs/promises";

const ticksPerSecond = 100;

/** Processor time in milliseconds. Other programs on the machine have little say in it, unlike in rates. */
export async function processorMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // the name in parentheses may have spaces
  const [user, system] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13);
  return ((Number(user) + Number(system)) * 1_000) / ticksPerSecond;
}

/** Resident memory in MB. */
export async function memoryMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024;
}
