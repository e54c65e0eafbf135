/** Owns looking for what stands in this host's directories. Nothing is opened, and no symlink is followed. */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { besidePattern } from "../domain/workspace-directory.js";
import type { DirectorySurvey } from "../ports/host-directories.js";
import { recordName } from "./mirror-marker.js";

/** The start of ownership looks after it. */
const inProgress = new RegExp(`^w[1-9]\\d{0,17}(\\.\\d{1,18})?${besidePattern}$`);
const named = /^w([1-9]\d{0,17})(?:\.([1-9]\d{0,17}))?$/;

export async function surveyDirectories(
  workspaceRoot: string,
  mirrorRoot: string,
  indexes: string,
): Promise<DirectorySurvey> {
  const workspaces: DirectorySurvey["workspaces"][number][] = [];
  const mirrors: DirectorySurvey["mirrors"][number][] = [];
  const others: string[] = [];
  for (const { name: repository, isDirectory, path } of await entriesOf(workspaceRoot)) {
    if (!isDirectory) {
      others.push(path);
      continue;
    }
    for (const entry of await entriesOf(path)) {
      const [, id, fence = "1"] = named.exec(entry.name) ?? [];
      if (id !== undefined && entry.isDirectory) {
        const marked = await isFile(join(indexes, `w${id}`));
        workspaces.push({ path: entry.path, repository, workspaceId: `w${id}`, fence: BigInt(fence), marked });
      } else if (!inProgress.test(entry.name)) others.push(entry.path);
    }
  }
  for (const { name, isDirectory, path } of await entriesOf(mirrorRoot)) {
    if (name.endsWith(".git") && isDirectory) {
      const marked = await isFile(join(path, recordName));
      mirrors.push({ path, name: name.slice(0, -".git".length), marked });
    } else others.push(path);
  }
  return { workspaces, mirrors, others };
}

/** Without those that begin with a dot: they are the service's own. */
async function entriesOf(directory: string) {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return entries
    .filter(({ name }) => !name.startsWith("."))
    .map((entry) => ({ name: entry.name, isDirectory: entry.isDirectory(), path: join(directory, entry.name) }));
}

async function isFile(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isFile() ?? false;
}
