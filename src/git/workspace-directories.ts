/** Owns looking for workspaces by their place alone; nothing is opened, and no symlink is followed. */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";

/** Directories two levels below `root`, without those that begin with a dot. */
export async function listWorkspaces(root: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const repository of await directories(root)) {
    for (const workspace of await directories(join(root, repository))) found.push(join(root, repository, workspace));
  }
  return found;
}

/** Whether a workspace's directory and its `.git` are there, and are this user's: of another layout they are of no use. */
export async function workspaceExists(path: string, uid: number | undefined): Promise<boolean> {
  const [directory, git] = await Promise.all([ownerOf(path), ownerOf(join(path, ".git"))]);
  return directory !== undefined && git !== undefined && (uid === undefined || (directory === uid && git === uid));
}

async function directories(path: string): Promise<readonly string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith(".")).map((entry) => entry.name);
}

/** Undefined if it is no directory. */
async function ownerOf(path: string): Promise<number | undefined> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  });
  return found?.isDirectory() ? found.uid : undefined;
}
