/** The verifier sees whatever differs in a submodule, its git directory, or in contents of Git LFS. */
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  cpSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { CheckoutTarget } from "../../src/ports/git-engine.js";
import { git as runGit, UpstreamRepository } from "../support/repositories.js";
import { Bench, Site } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const content = "content ".repeat(1000);
const oid = createHash("sha256").update(content).digest("hex");
const stored = `lfs/objects/${oid.slice(0, 2)}/${oid.slice(2, 4)}/${oid}`;

let bench: Bench;
let site: Site;
let target: CheckoutTarget;

beforeAll(async () => {
  bench = new Bench();
  const sub = new UpstreamRepository(bench.at("sub"));
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${content.length}\n`;
  const files = { "a.txt": "aaa\n", "dir/b.txt": "bbb\n", ".gitattributes": "*.bin filter=lfs\n", "big.bin": pointer };
  const commit = sub.commit("base", files);
  const top = new UpstreamRepository(bench.at("top"));
  top.commit("base", { "t.txt": "t\n", ".gitmodules": `[submodule "name"]\n\tpath = lib/sub\n\turl = ${sub.path}\n` });
  top.git("update-index", "--add", "--cacheinfo", `160000,${commit},lib/sub`);
  top.git("commit", "-q", "-m", "submodule");
  const mirror = await bench.mirror(top.path, "top-mirror");
  const module = await bench.mirror(sub.path, "sub-mirror");
  mkdirSync(join(sub.path, ".git", stored, ".."), { recursive: true });
  writeFileSync(join(sub.path, ".git", stored), content);
  const source = { kind: "local", path: sub.path } as const;
  const objects = [{ oid, size: content.length }];
  await bench.engine.fetchLfs({ mirror: module, source, objects, deadlineMs: 60_000 });
  site = new Site(bench, mirror, top.path, "w");
  const submodule = { name: "name", path: "lib/sub", url: sub.path, commit, mirror: module, update: "", lfs: true };
  target = { ...(await site.target("")), submodules: [{ ...submodule, submodules: [] }] };
  const { path, origin, trustedIndex } = site;
  await bench.engine.prepareWorkspace({ mirror, path, origin, trustedIndex, target });
});
afterAll(() => bench.close());

const verify = (deep: boolean) => {
  const { mirror, path, origin, trustedIndex } = site;
  return bench.engine.verifyWorkspace({ mirror, path, origin, trustedIndex, target, deep });
};

const tampering: Record<string, (path: string, git: string) => unknown> = {
  "a changed file": (path) => writeFileSync(join(path, "a.txt"), "xyz\n"),
  "an untracked file": (path) => writeFileSync(join(path, "dir/new"), ""),
  "a missing file": (path) => rmSync(join(path, "dir/b.txt")),
  "a file's mode": (path) => chmodSync(join(path, "a.txt"), 0o755),
  "another name of a file": (path) => linkSync(join(path, "a.txt"), bench.at("other-name")),
  "a content of Git LFS": (path) => writeFileSync(join(path, "big.bin"), content.replace("c", "C")),
  "another .git file": (path) => writeFileSync(join(path, ".git"), "gitdir: /tmp\n"),
  "a .git directory": (path) => {
    rmSync(join(path, ".git"));
    mkdirSync(join(path, ".git"));
  },
  "a symlink in its place": (path) => {
    renameSync(path, bench.at("away"));
    symlinkSync(bench.at("away"), path);
  },
  "an empty directory in its place": (path) => {
    rmSync(path, { recursive: true });
    mkdirSync(path);
  },
  "a hook": (_path, git) => writeFileSync(join(git, "hooks/post-checkout"), "#!/bin/sh\n"),
  "a setting": (_path, git) => appendFileSync(join(git, "config"), "[core]\n\tfsmonitor = x\n"),
  "another worktree": (_path, git) => appendFileSync(join(git, "config"), "[core]\n\tworktree = /tmp\n"),
  "another HEAD": (_path, git) => writeFileSync(join(git, "HEAD"), "ref: refs/heads/main\n"),
  "a flag in the index": (path) => runGit(path, "update-index", "--skip-worktree", "a.txt"),
  alternates: (_path, git) => writeFileSync(join(git, "objects/info/alternates"), "/tmp\n"),
  "a lock": (_path, git) => writeFileSync(join(git, "index.lock"), ""),
  "an excluded pattern": (_path, git) => appendFileSync(join(git, "info/exclude"), "*\n"),
  "a replaced object": (_path, git) => {
    mkdirSync(join(git, "refs/replace"));
    writeFileSync(join(git, "refs/replace/x"), "x");
  },
  "an object of another's": (_path, git) => {
    mkdirSync(join(git, "objects/aa"), { recursive: true });
    writeFileSync(join(git, "objects/aa", "0".repeat(38)), "");
  },
  "an object that is missing": (_path, git) => rmSync(join(git, "objects"), { recursive: true }),
  "a branch of another's": (_path, git) => writeFileSync(join(git, "refs/heads/other"), `${target.commit}\n`),
  "other references": (_path, git) => appendFileSync(join(git, "packed-refs"), `${target.commit} refs/tags/x\n`),
  "a missing file of git's": (_path, git) => rmSync(join(git, "description")),
  "another log": (_path, git) => appendFileSync(join(git, "logs/HEAD"), "x\n"),
  "permissions of git's directories": (_path, git) => chmodSync(join(git, "hooks"), 0o700),
  "permissions of a directory on the way": (_path, git) => chmodSync(join(git, ".."), 0o700),
  "permissions of a content of Git LFS": (_path, git) => chmodSync(join(git, stored), 0o644),
  "a stored content of Git LFS that is missing": (_path, git) => rmSync(join(git, stored)),
  "another file with the contents of Git LFS": (_path, git) => writeFileSync(join(git, "lfs/objects/x"), ""),
  "contents of Git LFS where there are none": (_path, git) =>
    mkdirSync(join(git, "../../lfs/objects"), { recursive: true }),
  "another git directory": (_path, git) => cpSync(git, `${git}-2`, { recursive: true }),
  "a git directory within": (_path, git) => mkdirSync(join(git, "modules/x"), { recursive: true }),
  "no git directory": (_path, git) => rmSync(git, { recursive: true }),
};

describe("G1 the verification finds in a submodule", () => {
  test.each(Object.entries(tampering))("%s", async (_what, tamper) => {
    expect(await verify(true)).toMatchObject({ kind: "pristine" });
    tamper(join(site.path, "lib/sub"), join(site.path, ".git/modules/name"));
    expect(await verify(false)).toMatchObject({ kind: "differs" });
    const from = target.commit;
    expect(await site.clean(from, target)).toMatchObject({ kind: "clean" });
    expect(await verify(false)).toMatchObject({ kind: "pristine" });
  });

  test("a stored content of Git LFS that was changed, where it looks deep", async () => {
    const file = join(site.path, ".git/modules/name", stored);
    rmSync(file);
    writeFileSync(file, content.replace("c", "C"));
    expect(await verify(true)).toMatchObject({ kind: "differs" });
    await site.clean(target.commit, target);
    expect(await verify(true)).toMatchObject({ kind: "pristine" });
  });
});
