/** Owns: upstreams with contents of Git LFS, and what a workspace of theirs is to have. */
import { createHash } from "node:crypto";
import { lstat, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { type LfsServer, pointerOf } from "./lfs-server.js";
import { git, Upstream } from "./upstream.js";

export const big = `${"big ".repeat(50_000)}end`;
const attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\nplain.bin -filter\n";
let made = 0;

/** A repository with two contents, and one that only looks like one. Answers its name on the servers. */
export async function withContents(
  root: string,
  on: LfsServer,
  more: Readonly<Record<string, string>> = {},
): Promise<{ name: string; upstream: Upstream }> {
  const name = `lfs-${++made}`;
  const upstream = await Upstream.make(root, name, {
    ".gitattributes": attributes,
    "big.bin": on.add(big),
    "deep/small.bin": on.add("small"),
    "plain.bin": pointerOf("not to be fetched"),
    "other.txt": pointerOf("not to be fetched either"),
    ...more,
  });
  return { name, upstream };
}

export const oidOf = (content: string) => createHash("sha256").update(content).digest("hex");
const storedIn = (path: string, content: string) => {
  const oid = oidOf(content);
  return readFile(join(path, ".git/lfs/objects", oid.slice(0, 2), oid.slice(2, 4), oid), "utf8");
};

/** Files, objects, and what a git whose LFS filter is the real one's would say. */
export async function expectContents(path: string, contents: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, content] of Object.entries(contents)) {
    expect(await readFile(join(path, name), "utf8")).toBe(content);
    expect(await storedIn(path, content)).toBe(content);
    expect((await lstat(join(path, name))).nlink).toBe(1);
  }
  expect(await git(path, "status", "--porcelain", "--ignored")).toBe("");
  // every file by its content, through a filter that does what git-lfs does
  const clean =
    'f() { t=$(mktemp); cat >"$t"; printf "version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize %s\\n" $(sha256sum <"$t" | cut -c1-64) $(stat -c %s "$t"); rm "$t"; }; f';
  await git(path, "read-tree", "HEAD");
  expect(await git(path, "-c", `filter.lfs.clean=${clean}`, "status", "--porcelain")).toBe("");
}
