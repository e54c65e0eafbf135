/** What a commit says of its submodules and of Git LFS: read as git reads it, and refused where git refuses it. */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { lfsSource } from "../../src/domain/lfs.js";
import { submoduleUrl } from "../../src/domain/submodule.js";
import { parseGitmodules } from "../../src/git/worker/modules/gitmodules.js";
import { type FileContent, git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let made = 0;
const id = "1".repeat(40);

beforeAll(() => {
  bench = new Bench();
});
afterAll(() => bench.close());

/** What the engine tells of a commit with these files and gitlinks. */
async function contents(files: Readonly<Record<string, FileContent>>, gitlinks: readonly string[] = ["sub"]) {
  const upstream = new UpstreamRepository(bench.at(`upstream-${++made}`));
  upstream.commit("base", files);
  for (const path of gitlinks) upstream.git("update-index", "--add", "--cacheinfo", `160000,${id},${path}`);
  upstream.git("commit", "-q", "--allow-empty", "-m", "gitlinks");
  const mirror = await bench.mirror(upstream.path, `mirror-${made}`);
  return bench.engine.examineCommit(mirror, upstream.id("HEAD"));
}

const section = (name: string, path = "sub", more = "") =>
  `[submodule "${name}"]\n\tpath = ${path}\n\turl = ../any.git\n${more}`;

describe("a .gitmodules", () => {
  test.each([
    ["a name that leads out of .git/modules", { ".gitmodules": section("../../x") }, /leads out/],
    ["a name with .. in its middle", { ".gitmodules": section("a/../../../b") }, /leads out/],
    ["an absolute name", { ".gitmodules": section("/etc/x") }, /leads out/],
    ["a name that ends with a slash", { ".gitmodules": section("x/") }, /leads out/],
    ["a name with a backslash", { ".gitmodules": section("a\\\\..\\\\b") }, /backslash/],
    ["a name with a control character", { ".gitmodules": section("a\tb") }, /control/],
    ["a name that begins with -", { ".gitmodules": section("-x") }, /begins with '-'/],
    ["a name that is a .git", { ".gitmodules": section("a/.GIT/b") }, /\.git/],
    [
      "one name in the other's git directory",
      { ".gitmodules": section("a") + section("A/hooks", "two") },
      /inside another/,
    ],
    [
      "a command as update setting",
      { ".gitmodules": section("sub", "sub", "\tupdate = !touch /tmp/x\n") },
      /update setting/,
    ],
    ["a path that is an option", { ".gitmodules": section("sub", "-x") }, /begins with '-'/],
    ["a syntax that git could not read", { ".gitmodules": "[submodule\n" }, /git could not read/],
    ["bytes that are no UTF-8", { ".gitmodules": Buffer.from(`${section("sub")}# \xff`, "latin1") }, /UTF-8/],
  ] as const)("G1 is refused for %s", async (_what, files, words) => {
    expect(await contents(files, ["sub", "two", "-x"])).toMatchObject({
      submodules: [],
      problem: expect.stringMatching(words),
    });
  });

  test("G1 is refused for a symlink, which git itself would not add", async () => {
    const upstream = new UpstreamRepository(bench.at(`upstream-${++made}`));
    upstream.commit("base", { elsewhere: section("sub") });
    const blob = upstream.id("HEAD:elsewhere");
    const entries = [`120000 blob ${blob}\t.gitmodules`, `100644 blob ${blob}\telsewhere`, `160000 commit ${id}\tsub`];
    const input = { cwd: upstream.path, input: `${entries.join("\n")}\n`, encoding: "utf8" } as const;
    const tree = execFileSync("git", ["mktree", "--missing"], input).trim();
    upstream.git("reset", "-q", "--soft", upstream.git("commit-tree", "-m", "crafted", tree));
    const mirror = await bench.mirror(upstream.path, `mirror-${made}`);
    const found = await bench.engine.examineCommit(mirror, upstream.id("HEAD"));
    expect(found).toMatchObject({ submodules: [], problem: expect.stringMatching(/no regular file/) });
  });

  test("G1 counts only where the tree has a gitlink", async () => {
    const text =
      section("one") +
      section("outside", "../sub") +
      section("file", "f.txt") +
      section("git", ".git/modules") +
      section("deep", "d/e");
    const { submodules, problem } = await contents({ ".gitmodules": text, "f.txt": "f" }, ["sub", "d/e"]);
    expect(problem).toBe("");
    expect(submodules.map(({ path, commit }) => [path, commit])).toEqual([
      ["d/e", id],
      ["sub", id],
    ]);
  });

  test.each([
    '[submodule "a \\"b\\\\ c"]\n path = "x # y" ; z\n url = "u\\tv" w # c\n',
    '[submodule.Old]\npath=p\nurl=u\n[Submodule "Old"] path = q\n',
    '[submodule "a"]\n\tpath = one\n\tpath = two\n\turl = a\\\n  b\n\tignore\n[core] x = y\n[submodule "a"]\n\turl = last\n',
    '\ufeff[submodule "crlf"]\r\n\tpath = p \r\n\turl = "q"  \r\n',
  ])("G1 says to us what it says to git: %j", (text) => {
    const file = bench.at(`gitmodules-${++made}`);
    writeFile(file, text);
    const told: Record<string, string> = {};
    for (const line of git(bench.directory.path, "config", "--file", file, "--null", "--list").split("\0")) {
      const [, name, key] = /^submodule\.(.*)\.(path|url|update)\n/s.exec(line) ?? [];
      if (name !== undefined) told[`${name} ${key}`] = line.slice(line.indexOf("\n") + 1);
    }
    const ours: Record<string, string> = {};
    for (const { name, path, url, update } of parseGitmodules(text)) {
      for (const [key, value] of Object.entries({ path, url, update }))
        if (value !== "") ours[`${name} ${key}`] = value;
    }
    expect(ours).toEqual(told);
  });

  test.each([
    ["https://h/a/b", "../c.git", "https://h/a/c.git"],
    ["https://h/a/b", "./c", "https://h/a/b/c"],
    ["git@h:a/b", "../../c", "git@h:c"],
    ["git@h:b", "../c", "git@h:c"],
    ["/srv/a", "../b/", "/srv/b"],
    ["/srv/a", "https://x/y", "https://x/y"],
    ["/srv", "../../../b", undefined],
  ])("G1 a URL relative to %s: %s is %s", (base, url, expected) => {
    expect(submoduleUrl(base, url)).toBe(expected);
  });
});

describe("Git LFS", () => {
  const pointer = (digit: string, size = 5) =>
    `version https://git-lfs.github.com/spec/v1\noid sha256:${digit.repeat(64)}\nsize ${size}\n`;

  test("G1 counts pointers whose filter attribute is lfs, by the rules of every directory and by macros", async () => {
    const found = await contents(
      {
        ".gitattributes":
          '[attr]big filter=lfs -text\n*.bin filter=lfs\n"with space/*" big\n/only-top.x filter=lfs\nno.bin !filter\n',
        "a.bin": pointer("a"),
        "no.bin": pointer("b"),
        "only-top.x": pointer("c"),
        "deep/only-top.x": pointer("d"),
        "with space/y": pointer("e"),
        "deep/.gitattributes": "*.bin -filter\nkeep.bin filter=lfs\n",
        "deep/z.bin": pointer("1"),
        "deep/keep.bin": pointer("2"),
        "same.bin": pointer("a"),
        "content.bin": "no pointer\n",
        "empty.bin": pointer("3", 0),
        "link.bin": { link: "a.bin" },
      },
      [],
    );
    expect(found.lfsFiles).toBe(5);
    expect(found.lfsObjects.map(({ oid }) => oid[0]).sort()).toEqual(["2", "a", "c", "e"]);
  });

  test("G1 without an attribute pointers are files like others", async () => {
    const found = await contents({ "a.bin": pointer("a"), ".gitattributes": "*.txt eol=lf\n" }, []);
    expect(found).toMatchObject({ lfsFiles: 0, lfsObjects: [] });
  });

  test.each([
    ["https://h/a/b", "", { kind: "http", url: "https://h/a/b.git/info/lfs" }],
    ["https://h/a/b.git", "", { kind: "http", url: "https://h/a/b.git/info/lfs" }],
    ["https://h/a/b", "https://h/other/", { kind: "http", url: "https://h/other" }],
    ["https://h/a/b", "https://h:444/other", /another host/],
    ["https://h/a/b", "http://h/other", /another host/],
    ["https://h/a/b", "https://evil/other", /another host/],
    ["https://h/a/b", "https://u:p@h/other", /odd/],
    ["https://h/a/b", "file:///etc", /another host/],
    ["git@h:a/b", "", /ssh/],
    ["/srv/a", "https://evil/", { kind: "local", path: "/srv/a" }],
  ])(
    "G1 the contents of %s with lfs.url %j are asked for at the upstream's own place only",
    (url, configured, expected) => {
      const source = lfsSource(url, configured);
      if (expected instanceof RegExp) expect(source).toMatch(expected);
      else expect(source).toEqual(expected);
    },
  );
});

test("G1 attributes that a simpler way would try for ever are matched at once", async () => {
  const begin = performance.now();
  const told = await contents(
    { ".gitattributes": "*a*a*a*a*a*a*a*b filter=lfs\n", [`${"a".repeat(250)}`]: "x", aaaaaaab: "y" },
    [],
  );
  expect(told).toMatchObject({ problem: "" });
  expect(performance.now() - begin).toBeLessThan(20_000);
});
