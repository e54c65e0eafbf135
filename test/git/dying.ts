/** Owns doing one operation of a worker in a process that is killed right before its n-th change of the disk. */
import { spawnSync } from "node:child_process";
import { fileURLToPath, pathToFileURL } from "node:url";

const program = fileURLToPath(new URL("./dying.mjs", import.meta.url));
const worker = new URL("../../dist/src/git/worker/", import.meta.url);

/** More changes than any operation makes. */
export const never = 1_000_000;

/** `module`: its path below the worker's folder, without ending. Answers the operation's answer as JSON; undefined if it was killed. */
export function dieAt(module: string, operation: string, request: unknown, step: number): string | undefined {
  const url = pathToFileURL(fileURLToPath(new URL(`${module}.js`, worker))).href;
  const args = [program, url, operation, JSON.stringify(request), String(step)];
  const { signal, status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (signal !== "SIGKILL" && status !== 0) throw new Error(stderr);
  return signal === "SIGKILL" ? undefined : stdout;
}
