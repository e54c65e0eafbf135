/**
 * Owns finding the processes that still use a directory, by what the kernel tells in `/proc`.
 *
 * Invariants:
 * 1. Nothing of what a process shows is opened or followed: only links and texts of `/proc` are read.
 * 2. Where there is no `/proc`, nothing is found.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Straggler, StragglerUse } from "../../domain/straggler.js";
import type { FindStragglersRequest } from "../../ports/git-engine.js";

const proc = "/proc";

export async function findStragglers(request: FindStragglersRequest): Promise<readonly Straggler[]> {
  const found: Straggler[] = [];
  for (const name of namesIn(proc)) {
    if (!/^[1-9]\d*$/.test(name) || Number(name) === process.pid) continue;
    const use = useOf(`${proc}/${name}`, request.places);
    if (use) found.push({ pid: Number(name), command: commandOf(name), uid: uidOf(name), use, killed: false });
  }
  return found;
}

function useOf(process: string, places: readonly string[]): StragglerUse | undefined {
  const isInside = (path: string) => places.some((place) => path === place || path.startsWith(`${place}/`));
  const links: readonly (readonly [string, StragglerUse])[] = [
    ["cwd", "directory"],
    ["root", "root"],
    ["exe", "program"],
  ];
  for (const [link, use] of links) if (isInside(linkAt(`${process}/${link}`))) return use;
  for (const descriptor of namesIn(`${process}/fd`)) {
    if (isInside(linkAt(`${process}/fd/${descriptor}`))) return "file";
  }
  const maps = textAt(`${process}/maps`);
  for (const line of maps.split("\n")) {
    const slash = line.indexOf("/");
    if (slash > 0 && isInside(line.slice(slash).replace(/ \(deleted\)$/, ""))) return "mapping";
  }
  return undefined;
}

function commandOf(pid: string): string {
  return textAt(`${proc}/${pid}/comm`).replace(/[\x00-\x1f\x7f]/g, "");
}

function uidOf(pid: string): number {
  return Number(/^Uid:\s+(\d+)/m.exec(textAt(`${proc}/${pid}/status`))?.[1] ?? -1);
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function linkAt(path: string): string {
  try {
    return readlinkSync(path).replace(/ \(deleted\)$/, "");
  } catch {
    return "";
  }
}

function textAt(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
