/** `token create --file` leaves the tokens file whose it is. */
import { chmod, chown, lstat, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { leasehold, temporaryDirectory } from "../support/command-line.js";

const isRoot = process.getuid?.() === 0;
const add = (file: string) => leasehold("", ["token", "create", "--caller", "ci", "--file", file]);

test("token create keeps the mode of a tokens file, and a link to one", async () => {
  await using directory = await temporaryDirectory();
  const file = join(directory.path, "tokens.yaml");
  const link = join(directory.path, "link.yaml");
  await writeFile(file, "");
  await chmod(file, 0o640);
  await symlink("tokens.yaml", link);
  for (const path of [file, link]) expect(await add(path)).toMatchObject({ status: 0 });
  expect((await lstat(link)).isSymbolicLink()).toBe(true);
  expect((await stat(file)).mode & 0o7777).toBe(0o640);
  expect(parse(await readFile(file, "utf8"))).toHaveLength(2);
  expect((await readdir(directory.path)).sort()).toEqual(["link.yaml", "tokens.yaml"]);
});

test.skipIf(!isRoot)("token create by root leaves a tokens file to the server's user", async () => {
  await using directory = await temporaryDirectory();
  const file = join(directory.path, "tokens.yaml");
  await writeFile(file, "");
  await chmod(file, 0o640);
  await chown(file, 61_234, 61_235);
  expect(await add(file)).toMatchObject({ status: 0 });
  expect(await stat(file)).toMatchObject({ uid: 61_234, gid: 61_235, mode: 0o100640 });
});
