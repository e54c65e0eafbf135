/**
 * Owns: what can be known of a process that is not our child.
 *
 * 1. A zombie is not running, although signals to it succeed: in a container nobody may ever wait for it.
 */
import { readFileSync, readlinkSync, realpathSync } from "node:fs";

/** Whether a process with this id runs. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const state = stateOf(pid);
  return state === undefined || (state !== "Z" && state !== "X");
}

/** Whether the process is the Postgres of this data directory, which is the working directory of every Postgres. */
export function servesCluster(pid: number, clusterDir: string): boolean {
  if (!isRunning(pid)) {
    return false;
  }
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(clusterDir);
  } catch {
    // No /proc, or a process of somebody else: its name, if anything tells that, must do.
    return (programOf(pid) ?? "postgres") === "postgres";
  }
}

/** The name of the program that the process runs (cut at 15 bytes); undefined where the system does not tell. */
function programOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** One letter, as `R` or `Z`. */
function stateOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2, text.lastIndexOf(")") + 3);
  } catch {
    return undefined;
  }
}
