import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository } from "../support/repositories.js";
import { Bench, Site, state } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;
const site = (): Site => new Site(bench, mirror, upstream.path, `w${++made}`);

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"), "trunk");
  upstream.commit("one", {
    "README.md": "hello\n",
    "bin/run": { run: "#!/bin/sh\n" },
    link: { link: "README.md" },
    "dangling link": { link: "/nowhere" },
    "ünïcödé/ßtrange name.txt": "x\n",
    "-dash": "x\n",
    "crlf.txt": "a\nb\n",
    "ident.txt": "$Id$\n",
    ".gitattributes": "crlf.txt text eol=crlf\nident.txt ident\n*.auto text=auto\n",
    "windows.auto": "a\r\nb\r\n",
    ".gitignore": "*.log\nbuild/\n",
  });
  upstream.git("tag", "-a", "-m", "first", "v1");
  upstream.git("branch", "feature/x.y");
  upstream.git("branch", "odd\"'$name");
  upstream.git("branch", "zweig-ü");
  upstream.commit("two", { "README.md": "hello again\n", link: { link: "bin/run" }, "sub/a": "file in sub\n" });
  upstream.commit("three", {
    "sub/a": null,
    sub: "now a file\n",
    "bin/run": null,
    "bin/run/inside": "now a directory\n",
  });
  upstream.git("update-ref", "refs/pull/7/head", "HEAD~1");
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

describe("B1 a new workspace is what git clone makes", () => {
  test.each(["", "v1", "feature/x.y", "odd\"'$name", "zweig-ü", "refs/tags/v1"])("at %j", async (revision) => {
    const workspace = site();
    const target = await workspace.prepare(revision);
    expect(state(workspace.path)).toEqual(state(workspace.reference(target)));
  });

  test("B1 a workspace has no alternates and shares no lock, and shows nothing else of the mirror", async () => {
    git(mirror, "update-ref", "refs/leasehold/x", "refs/heads/trunk");
    const workspace = site();
    await workspace.prepare();
    expect(existsSync(join(workspace.path, ".git/objects/info/alternates"))).toBe(false);
    expect(existsSync(join(workspace.path, ".git/commondir"))).toBe(false);
    const names = git(workspace.path, "for-each-ref", "--format=%(refname)").split("\n");
    expect(names.filter((name) => /pull|leasehold/.test(name))).toEqual([]);
    const inGit = join(workspace.path, ".git");
    const texts = ["config", "HEAD", "packed-refs", "logs/HEAD", "logs/refs/heads/trunk"];
    for (const name of texts) expect(readFileSync(join(inGit, name), "utf8")).not.toContain(mirror);
  });

  test("A3 git fetch, commit and log work in it, and two workspaces do not see each other", async () => {
    const [one, two] = [site(), site()];
    await Promise.all([one.prepare(), two.prepare()]);
    git(one.path, "fetch", "-q");
    writeFileSync(join(one.path, "new"), "x");
    git(one.path, "add", "new");
    git(one.path, "commit", "-q", "-m", "mine");
    expect(git(one.path, "status", "--porcelain", "--branch")).toBe("## trunk...origin/trunk [ahead 1]");
    expect(git(two.path, "status", "--porcelain", "--branch")).toBe("## trunk...origin/trunk");
    expect(git(two.path, "fsck")).toBe("");
  });
});

describe("A3 settings of a workspace", () => {
  test("A3 the author is in its configuration, quoted rightly", async () => {
    const workspace = site();
    const { mirror, path, origin, trustedIndex } = workspace;
    const author = { name: 'Ada "the\\first" Löw; # x', email: "ada@example.com" };
    const target = await workspace.target("");
    await bench.engine.prepareWorkspace({ mirror, path, origin, trustedIndex, target, author });
    expect(git(path, "config", "user.name")).toBe(author.name);
    expect(git(path, "config", "user.email")).toBe(author.email);
  });

  test("A3 a new branch is made at the target and follows origin only if origin has it", async () => {
    const fresh = site();
    await fresh.prepare("v1", { branch: "mine/a" });
    expect(git(fresh.path, "status", "--porcelain", "--branch")).toBe("## mine/a");
    expect(git(fresh.path, "rev-parse", "HEAD")).toBe(upstream.id("v1^{commit}"));
    const known = site();
    await known.prepare("v1", { branch: "feature/x.y" });
    expect(git(known.path, "status", "--porcelain", "--branch")).toBe("## feature/x.y...origin/feature/x.y");
    expect(git(known.path, "branch", "--format=%(refname)").split("\n")).toEqual(["refs/heads/feature/x.y"]);
  });

  test("A3 a commit on a pull request is checked out detached", async () => {
    const workspace = site();
    await bench.fetch(mirror, upstream.path, ["refs/pull/7/head"]);
    const target = await workspace.prepare("refs/pull/7/head");
    expect(target).toEqual({ commit: upstream.id("HEAD~1"), head: "", tracking: false });
    expect(git(workspace.path, "status", "--porcelain", "--branch")).toBe("## HEAD (no branch)");
  });
});

describe("A3 moving a clean workspace", () => {
  test("A3 to any other commit gives what git clone makes there", async () => {
    const workspace = site();
    let from = (await workspace.prepare()).commit;
    for (const revision of ["v1", "trunk", upstream.id("HEAD~1"), "v1", upstream.id("HEAD~1"), "", "trunk"]) {
      const target = await workspace.prepare(revision, { from });
      from = target.commit;
      expect(state(workspace.path)).toEqual(state(workspace.reference(target)));
    }
  });

  test("A3 brings the upstream's new refs along, without FETCH_HEAD", async () => {
    const other = new UpstreamRepository(bench.at("moving"));
    other.commit("a");
    const moving = new Site(bench, await bench.mirror(other.path, "moving"), other.path, "moving");
    const { commit } = await moving.prepare();
    other.git("branch", "new");
    other.git("tag", "t");
    other.commit("b");
    await bench.fetch(moving.mirror, other.path);
    const target = await moving.prepare("", { from: commit });
    expect(state(moving.path)).toEqual(state(moving.reference(target)));
    expect(readdirSync(join(moving.path, ".git"))).not.toContain("FETCH_HEAD");
    expect(readFileSync(join(moving.path, "b"), "utf8")).toBe("b\n");
  });

  test("A3 a workspace that somebody removed, or emptied, is made again", async () => {
    const workspace = site();
    const { commit } = await workspace.prepare();
    expect(await bench.engine.workspaceExists(workspace.path)).toBe(true);
    git(bench.directory.path, "-c", "alias.x=!rm -rf", "x", join(workspace.path, ".git"));
    expect(await bench.engine.workspaceExists(workspace.path)).toBe(false);
    const target = await workspace.prepare("", { from: commit });
    expect(state(workspace.path)).toEqual(state(workspace.reference(target)));
    expect(readdirSync(bench.at("workspaces")).filter((name) => !/^\w+\.\d+$/.test(name))).toEqual([]);
  });
});

test("A3 attributes that convert everything, themselves included, and that change on the way", async () => {
  const windows = new UpstreamRepository(bench.at("windows"));
  windows.commit("crlf", {
    ".gitattributes": "* text=auto eol=crlf\n*.bin -text\n",
    "a.txt": "a\nb\n",
    "x.bin": "a\nb\n",
    "s/.gitattributes": "*.md eol=lf\n.gitattributes eol=lf\n",
    "s/r.md": "x\ny\n",
    "s/r.txt": "x\ny\n",
    "t/.gitattributes": "*.md eol=lf\n",
  });
  windows.git("tag", "crlf");
  windows.commit("lf", { ".gitattributes": "*.bin -text\n" });
  const workspace = new Site(bench, await bench.mirror(windows.path, "windows"), windows.path, "windows");
  let from: string | undefined;
  for (const revision of ["crlf", "main", "crlf"]) {
    const target = await workspace.prepare(revision, from ? { from } : {});
    from = target.commit;
    expect(state(workspace.path)).toEqual(state(workspace.reference(target)));
  }
  const target = await workspace.target("crlf");
  writeFileSync(join(workspace.path, ".gitattributes"), "* -text\n");
  writeFileSync(join(workspace.path, "a.txt"), "a\n");
  await workspace.clean(from ?? "", target);
  expect(state(workspace.path)).toEqual(state(workspace.reference(target)));
  expect(await workspace.clean(from ?? "", target)).toEqual({ kind: "clean", recreated: false });
});

test("A3 an empty repository gives an empty clone on its unborn branch", async () => {
  const empty = new UpstreamRepository(bench.at("empty"), "start");
  const workspace = new Site(bench, await bench.mirror(empty.path, "empty"), empty.path, "empty");
  const target = await workspace.prepare();
  expect(target).toEqual({ commit: "", head: "refs/heads/start", tracking: true });
  expect(git(workspace.path, "status", "--porcelain", "--branch")).toMatch(/^## No commits yet on start/);
  expect(git(workspace.path, "fsck")).toMatch(/^(notice: .*)?$/s);
  const outcome = await workspace.clean("", target);
  expect(outcome).toMatchObject({ kind: "clean" });
  empty.commit("first");
  await bench.fetch(workspace.mirror, empty.path);
  const grown = await workspace.prepare("", { from: "" });
  expect(state(workspace.path)).toEqual(state(workspace.reference(grown)));
});
