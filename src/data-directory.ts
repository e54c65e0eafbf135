/**
 * Owns the data directory: that it is one, its mode, and its identity.
 *
 * Invariant: it has an id of its own, made once, by which the database knows it; a copy of the directory is the same one to it.
 */
import { randomUUID } from "node:crypto";
import { chmod, link, lstat, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";

export interface DataDirectory {
  readonly path: string;
  readonly id: string;
}

/** Makes what is missing. Throws one line for an operator if the path is something else. */
export async function openDataDirectory(path: string, others: readonly string[]): Promise<DataDirectory> {
  const root = resolve(path);
  await makeDirectory(root);
  // 0711: others may pass through to a workspace whose path they were given, and may list nothing
  await chmod(root, 0o711);
  for (const name of ["indexes", "trash", "mirrors", "salvages"])
    await mkdir(join(root, name), { recursive: true, mode: 0o700 });
  await mkdir(join(root, "workspaces"), { recursive: true, mode: 0o711 });
  for (const other of others) await makeDirectory(resolve(other));
  return { path: root, id: await readOrMakeId(join(root, "id")) };
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o711 });
    if ((await lstat(path)).isDirectory()) return;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "EEXIST" && code !== "ENOTDIR") throw new Error(`${path} cannot be made (${code})`);
  }
  throw new Error(`${path} is not a directory`);
}

/** Written aside and linked into place: two starts at once agree on one id, and a kill leaves none or a whole one. */
async function readOrMakeId(file: string): Promise<string> {
  const aside = `${file}.${process.pid}`;
  await writeFile(aside, `${randomUUID()}\n`);
  try {
    await link(aside, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(aside, { force: true });
  }
  const id = (await readFile(file, "utf8")).trim();
  if (!/^[0-9a-f-]{36}$/.test(id)) throw new Error(`${file} is damaged: it should have the id of this data directory`);
  return id;
}
