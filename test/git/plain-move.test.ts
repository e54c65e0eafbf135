/** Moving by few plain files: the same result as a fresh clone, and refused wherever anything is out of the ordinary. */
import { linkSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IndexEdit } from "../../src/git/worker/index/index-edit.js";
import { indexPath } from "../../src/git/worker/index/trusted-index.js";
import { movePlainly } from "../../src/git/worker/workspace/plain-move.js";
import { type FileContent, git, TemporaryDirectory, UpstreamRepository } from "../support/repositories.js";
import { Bench, listing, Site, state } from "./support.js";

let directory: TemporaryDirectory;
beforeAll(() => {
  directory = new TemporaryDirectory();
});
afterAll(() => directory.remove());

const first: Readonly<Record<string, FileContent>> = {
  "README.md": "hello\n",
  "bin/run": { run: "#!/bin/sh\n" },
  "src/a.ts": "a\n",
  "src/b.ts": "b\n",
  "src/deep/only": "only\n",
  "x-file": "x\n",
  "x/file": "x\n",
};
const changes: Readonly<Record<string, FileContent>> = {
  "README.md": "hello again, longer\n",
  "bin/run": "no longer to be run\n",
  "src/a.ts": null,
  "src/a.ts/now/a/directory": "deep\n",
  "src/deep/only": null,
  "src/deep": "now a file\n",
  "0-first": "sorts first\n",
  "x.file": "sorts between\n",
  "zz-last": { run: "sorts last\n" },
};

/** A clone of `files` and then `changed`, standing at the first; its index was written by git itself. */
function standing(name: string, changed: Readonly<Record<string, FileContent>>, files = first) {
  const upstream = new UpstreamRepository(directory.at(`${name}-upstream`));
  const from = upstream.commit("first", files);
  const to = upstream.commit("second", changed);
  const path = directory.at(name);
  git(directory.path, "clone", "-q", upstream.path, path);
  git(path, "checkout", "-q", "--detach", from);
  git(path, "config", "index.version", "2");
  return { path, from, to, upstream };
}

describe("A3 moving by plain files", () => {
  test("gives the files, modes and index that git's own checkout gives, and back again", () => {
    const { path, from, to } = standing("there", changes);
    for (const [old, now] of [
      [from, to],
      [to, from],
      [from, to],
    ] as const) {
      expect(movePlainly(path, old, now)).toBe(true);
      writeFileSync(join(path, ".git", "HEAD"), `${now}\n`);
      const reference = directory.at("reference", now.slice(0, 8), String(performance.now()));
      git(directory.path, "clone", "-q", path, reference);
      git(reference, "checkout", "-q", "--detach", now);
      expect(listing(path)).toEqual(listing(reference));
      expect(git(path, "ls-files", "-s")).toBe(git(reference, "ls-files", "-s"));
      expect(git(path, "status", "--porcelain", "--ignored")).toBe("");
      // told by the index alone: git need not read a file to know that it did not change
      expect(git(path, "diff-files")).toBe("");
      expect(git(path, "fsck", "--strict")).toBe("");
    }
  });

  test("keeps what the index knows of files that did not change", () => {
    const { path, from, to } = standing("kept", { "README.md": "other\n" });
    const entry = (name: string) => git(path, "ls-files", "--debug", name).replace(/dev:.*/g, "");
    const before = entry("src/b.ts");
    expect(movePlainly(path, from, to)).toBe(true);
    expect(entry("src/b.ts")).toBe(before);
    expect(entry("README.md")).toContain(`size: ${statSync(join(path, "README.md")).size}`);
  });

  const odd: Record<string, [changed: Readonly<Record<string, FileContent>>, files?: typeof first]> = {
    "a link": [{ link: { link: "README.md" } }],
    "a link that becomes a file": [{ link: "file\n" }, { ...first, link: { link: "README.md" } }],
    "a name beyond ASCII": [{ ü: "x\n" }],
    "a name with a backslash": [{ "a\\b": "x\n" }],
    "attributes that change": [{ ".gitattributes": "*.bin -text\n" }],
    "attributes that convert": [{ "a.txt": "x\n" }, { ...first, "s/.gitattributes": "* text eol=crlf\n" }],
    "contents of Git LFS": [{ "a.txt": "x\n" }, { ...first, ".gitattributes": "*.bin filter=lfs\n" }],
    "a .gitmodules that comes": [{ ".gitmodules": "" }],
    "a .gitmodules that is there": [{ "a.txt": "x\n" }, { ...first, ".gitmodules": "" }],
    "a thousand files": [Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`f${i}`, "x\n"]))],
  };
  test.each(Object.entries(odd))("is left to libgit2, and nothing touched, for %s", (name, [changed, files]) => {
    const { path, from, to } = standing(name.replaceAll(" ", "-"), changed, files);
    const before = [listing(path), readFileSync(indexPath(path), "hex")];
    expect(movePlainly(path, from, to)).toBe(false);
    expect([listing(path), readFileSync(indexPath(path), "hex")]).toEqual(before);
  });

  test("is left to libgit2, and nothing touched, where the commits have a submodule", () => {
    const { upstream } = standing("submodule-upstream", {});
    upstream.git("update-index", "--add", "--cacheinfo", `160000,${"1".repeat(40)},lib/sub`);
    upstream.git("commit", "-q", "-m", "gitlink");
    const path = directory.at("submodule");
    git(directory.path, "clone", "-q", upstream.path, path);
    const from = upstream.git("rev-parse", "HEAD");
    writeFileSync(join(upstream.path, "README.md"), "changed\n");
    upstream.git("add", "README.md");
    upstream.git("commit", "-q", "-m", "changed");
    const to = upstream.git("rev-parse", "HEAD");
    expect(upstream.git("diff", "--name-only", from, to)).toBe("README.md");
    git(path, "fetch", "-q");
    const before = [listing(path), readFileSync(indexPath(path), "hex")];
    expect(movePlainly(path, from, to)).toBe(false);
    expect([listing(path), readFileSync(indexPath(path), "hex")]).toEqual(before);
  });

  test("is left to libgit2 for an index with conflicts, cut short, or of another version", () => {
    const { path } = standing("indexes", changes);
    const whole = readFileSync(indexPath(path));
    expect(IndexEdit.of(Buffer.from(whole))).toBeDefined();
    const staged = Buffer.from(whole);
    staged.writeUInt16BE(staged.readUInt16BE(12 + 60) | 0x1000, 12 + 60);
    const fourth = Buffer.from(whole);
    fourth.writeUInt32BE(4, 4);
    const many = Buffer.from(whole);
    many.writeUInt32BE(0xffffffff, 8);
    for (const bytes of [staged, fourth, many, whole.subarray(0, 40), Buffer.alloc(0), Buffer.alloc(100)]) {
      expect(IndexEdit.of(Buffer.from(bytes))).toBeUndefined();
    }
  });

  test.each(["a file", "a link"])("never writes through %s that stands where a file is to be", (what) => {
    const { path, from, to } = standing(`through-${what.slice(2)}`, { "new/file": "from upstream\n" });
    const elsewhere = directory.at(`elsewhere-${what.slice(2)}`);
    writeFileSync(elsewhere, "not ours\n");
    mkdirSync(join(path, "new"));
    if (what === "a link") symlinkSync(elsewhere, join(path, "new", "file"));
    else linkSync(elsewhere, join(path, "new", "file"));
    expect(() => movePlainly(path, from, to)).toThrow(/EEXIST/);
    expect(readFileSync(elsewhere, "utf8")).toBe("not ours\n");
  });
});

test("A3 a workspace that is moved by plain files is what git clone makes", async () => {
  const bench = new Bench();
  try {
    const upstream = new UpstreamRepository(bench.at("upstream"));
    upstream.commit("first", { ...first, "s/.gitattributes": "*.bin -text\n" });
    const site = new Site(bench, await bench.mirror(upstream.path), upstream.path, "plain");
    let from = (await site.prepare()).commit;
    upstream.commit("second", changes);
    await bench.fetch(site.mirror, upstream.path);
    for (const revision of ["", from, ""]) {
      const target = await site.prepare(revision, { from });
      from = target.commit;
      expect(state(site.path)).toEqual(state(site.reference(target)));
    }
  } finally {
    await bench.close();
  }
});
