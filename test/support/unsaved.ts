/** Owns: work of a holder that exists nowhere else, and the proof, by plain git, that a salvage has all of it. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { Salvage } from "../../gen/leasehold/v1/salvage_pb.js";
import type { Client, Held } from "./rpc-client.js";
import { until } from "./until.js";
import { git } from "./upstream.js";

const binary = Buffer.from([0, 1, 2, 0xff, 0xfe, 10]);

/** Work of each kind, with a mark by which it is known. */
export async function workUnsaved({ path }: Pick<Held, "path">, mark = "mark"): Promise<void> {
  await writeFile(join(path, "committed.txt"), `committed ${mark}\n`);
  await git(path, "add", "committed.txt");
  await git(path, "commit", "--quiet", "--message", `Not pushed: ${mark}`);
  await writeFile(join(path, "src/main.txt"), `changed ${mark}\n`);
  await writeFile(join(path, "staged.txt"), `staged ${mark}\n`);
  await git(path, "add", "staged.txt");
  await mkdir(join(path, "deep/er"), { recursive: true });
  await writeFile(join(path, "deep/er/binary"), binary);
  await writeFile(join(path, "notes.txt"), `untracked ${mark}\n`);
  await writeFile(join(path, "build.log"), "ignored\n");
}

/** The files are as `workUnsaved` left them. */
export async function expectFiles(path: string, mark = "mark"): Promise<void> {
  const text = (name: string) => readFile(join(path, name), "utf8");
  expect(await text("src/main.txt")).toBe(`changed ${mark}\n`);
  expect(await text("staged.txt")).toBe(`staged ${mark}\n`);
  expect(await text("notes.txt")).toBe(`untracked ${mark}\n`);
  expect(await text("committed.txt")).toBe(`committed ${mark}\n`);
  expect(await readFile(join(path, "deep/er/binary"))).toEqual(binary);
}

/** Fetches a salvage into an empty repository and compares all of it. */
export async function expectSalvaged(salvage: Salvage | undefined, root: string, mark = "mark"): Promise<void> {
  if (!salvage) throw new Error("there is no salvage");
  const clone = join(root, `fetched-${salvage.salvageId}`);
  await git(root, "init", "--quiet", clone);
  await git(clone, "fetch", "--quiet", salvage.repositoryPath, `${salvage.ref}:refs/heads/salvage`);
  await git(clone, "checkout", "--quiet", "salvage");
  expect(await git(clone, "rev-parse", "HEAD")).toBe(salvage.commit);
  await expectFiles(clone, mark);
  expect(await git(clone, "log", "--format=%s", "salvage")).toContain(`Not pushed: ${mark}`);
  expect(await git(clone, "ls-files", "build.log")).toBe("");
  expect(await git(clone, "fsck", "--full", "--strict")).not.toMatch(/error|missing|broken/);
}

export async function salvagesOf(client: Client, filter: Parameters<Client["admin"]["listSalvages"]>[0]) {
  return (await client.admin.listSalvages(filter)).salvages;
}

/** Waits for what a lease left. */
export function salvageOf(client: Client, { leaseId }: Pick<Held, "leaseId">): Promise<Salvage> {
  return until(`what ${leaseId} left was salvaged`, async () => (await salvagesOf(client, { leaseId }))[0]);
}
