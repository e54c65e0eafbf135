import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { CheckoutTarget } from "../../src/ports/git-engine.js";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { Bench, Site, state } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", {
    ".gitignore": "*.log\nbuild/\n",
    "a.txt": "aaa\n",
    "b.txt": "bbb\n",
    "dir/c.txt": "ccc\n",
    "dir/deep/d.txt": "ddd\n",
    "run.sh": { run: "#!/bin/sh\n" },
    link: { link: "a.txt" },
    "crlf.txt": "one\ntwo\n",
    ".gitattributes": "crlf.txt eol=crlf\n",
  });
  upstream.git("tag", "v1");
  upstream.commit("next", { "dir/c.txt": "CCC\n", "new/e.txt": "eee\n", "b.txt": null });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

/** A workspace at the default branch, after a holder has done `mischief` to it and it was cleaned. */
async function cleaned(mischief: (path: string) => unknown, to = ""): Promise<{ site: Site; target: CheckoutTarget }> {
  const site = new Site(bench, mirror, upstream.path, `c${++made}`);
  const { commit } = await site.prepare();
  await mischief(site.path);
  const target = await site.target(to);
  const outcome = await site.clean(commit, target);
  expect(outcome).toEqual({ kind: "clean", recreated: false });
  return { site, target };
}

async function expectPristine(mischief: (path: string) => unknown, to = ""): Promise<Site> {
  const { site, target } = await cleaned(mischief, to);
  expect(state(site.path)).toEqual(state(site.reference(target)));
  return site;
}

describe("A5 a cleaned workspace is indistinguishable from a fresh clone after", () => {
  const outside = (): string => {
    const path = bench.at(`outside-${++made}`);
    mkdirSync(path);
    writeFileSync(join(path, "deep"), "untouched\n");
    return path;
  };

  const mischief: Record<string, (path: string) => unknown> = {
    "nothing at all": () => {},
    "changed, new, removed and ignored files": (path) => {
      appendFileSync(join(path, "a.txt"), "more\n");
      rmSync(join(path, "dir/deep"), { recursive: true });
      writeFile(join(path, "x/y/z"), "new\n");
      writeFile(join(path, "debug.log"), "log\n");
      writeFile(join(path, "build/out/o"), "o\n");
      mkdirSync(join(path, "empty/empty"), { recursive: true });
    },
    "an edit whose size and times were put back": (path) => {
      const { atime, mtime } = statSync(join(path, "a.txt"));
      writeFileSync(join(path, "a.txt"), "AAA\n");
      utimesSync(join(path, "a.txt"), atime, mtime);
    },
    "an edit under skip-worktree and assume-unchanged": (path) => {
      git(path, "update-index", "--skip-worktree", "a.txt");
      git(path, "update-index", "--assume-unchanged", "dir/c.txt");
      writeFileSync(join(path, "a.txt"), "poison\n");
      writeFileSync(join(path, "dir/c.txt"), "poison\n");
    },
    "files of other kinds in place of files": (path) => {
      rmSync(join(path, "a.txt"));
      mkdirSync(join(path, "a.txt/sub"), { recursive: true });
      rmSync(join(path, "dir"), { recursive: true });
      writeFileSync(join(path, "dir"), "a file\n");
      rmSync(join(path, "link"));
      writeFileSync(join(path, "link"), "a.txt");
      rmSync(join(path, "run.sh"));
      symlinkSync("/etc/passwd", join(path, "run.sh"));
    },
    "changed modes of files and directories": (path) => {
      chmodSync(join(path, "a.txt"), 0o777);
      chmodSync(join(path, "run.sh"), 0o644);
      chmodSync(join(path, "dir/c.txt"), 0o600);
      chmodSync(join(path, "dir"), 0o711);
      chmodSync(path, 0o700);
    },
    "nested repositories, also below ignored and untracked directories": (path) => {
      for (const name of ["nested", "build/nested", "u/v/nested", "dir/nested"]) {
        mkdirSync(join(path, name), { recursive: true });
        git(join(path, name), "init", "-q");
        writeFileSync(join(path, name, "f"), "x");
      }
      mkdirSync(join(path, "dir/.git"));
    },
    "pipes and sockets": async (path) => {
      execFileSync("mkfifo", [join(path, "pipe"), join(path, "dir/pipe"), join(path, "pipe.log")]);
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(join(path, "socket"), resolve));
      const socket = connect(join(path, "socket"));
      await new Promise((resolve) => socket.once("connect", resolve));
      renameSync(join(path, "socket"), join(path, "kept"));
      socket.destroy();
      server.close();
    },
    "a pipe in place of a file": (path) => {
      rmSync(join(path, "a.txt"));
      execFileSync("mkfifo", [join(path, "a.txt")]);
    },
    "read-only and unreadable directories": (path) => {
      writeFile(join(path, "locked/in/f"), "x");
      chmodSync(join(path, "locked/in"), 0o000);
      chmodSync(join(path, "locked"), 0o500);
      writeFile(join(path, "dir/untracked"), "x");
      chmodSync(join(path, "dir"), 0o500);
    },
    "names that are no UTF-8 and names that git would quote": (path) => {
      writeFileSync(Buffer.concat([Buffer.from(`${path}/bad-`), Buffer.from([0xff, 0xfe])]), "x");
      mkdirSync(Buffer.concat([Buffer.from(`${path}/dir/`), Buffer.from([0xe9])]));
      writeFile(join(path, 'new\nline "q" \\'), "x");
    },
    "a hostile .git: hooks, filters, worktree, includes, alternates": (path) => {
      const config = `[core]\n\tworktree = ${outside()}\n\tfsmonitor = touch ${bench.at("ran")}\n\tautocrlf = true\n`;
      appendFileSync(join(path, ".git/config"), `${config}\thooksPath = ${path}\n[include]\n\tpath = /nowhere\n`);
      writeFile(join(path, ".git/info/attributes"), "* filter=x eol=crlf\n");
      writeFile(join(path, ".git/objects/info/alternates"), `${outside()}\n`);
      writeFile(join(path, ".git/hooks/post-checkout"), { run: `#!/bin/sh\ntouch ${bench.at("ran")}\n` });
    },
    "locks, stashes, linked worktrees and replaced objects": (path) => {
      appendFileSync(join(path, "a.txt"), "stashed\n");
      git(path, "stash", "-q");
      git(path, "worktree", "add", "-q", "-b", "other", bench.at(`linked-${++made}`));
      git(path, "replace", "HEAD", "HEAD~1");
      git(path, "bisect", "start");
      for (const lock of ["index.lock", "HEAD.lock", "config.lock"]) writeFile(join(path, ".git", lock), "");
    },
    "a .git that is a file": (path) => {
      renameSync(join(path, ".git"), bench.at(`moved-${++made}`));
      writeFileSync(join(path, ".git"), `gitdir: ${bench.at(`moved-${made}`)}\n`);
    },
    "a .git that is a symlink": (path) => {
      renameSync(join(path, ".git"), bench.at(`moved-${++made}`));
      symlinkSync(bench.at(`moved-${made}`), join(path, ".git"));
    },
    "a .git that is gone": (path) => rmSync(join(path, ".git"), { recursive: true }),
    "a checkout of another commit and local commits": (path) => {
      git(path, "checkout", "-q", "v1");
      git(path, "checkout", "-q", "-b", "mine");
      appendFileSync(join(path, "a.txt"), "mine\n");
      git(path, "commit", "-q", "-a", "-m", "mine");
    },
  };
  test.each(Object.keys(mischief))("A5 %s", async (name) => {
    await expectPristine(mischief[name] as (path: string) => unknown);
    expect(existsSync(bench.at("ran"))).toBe(false);
  });

  test.each(Object.keys(mischief))("A5 %s, when it moves to another commit", async (name) => {
    await expectPristine(mischief[name] as (path: string) => unknown, "v1");
  });

  test("A5 a tracked directory replaced by a symlink: nothing outside is written or removed", async () => {
    const target = outside();
    await expectPristine((path) => {
      rmSync(join(path, "dir"), { recursive: true });
      symlinkSync(target, join(path, "dir"));
      symlinkSync(target, join(path, "build"));
      rmSync(join(path, "new"), { recursive: true });
      symlinkSync(target, join(path, "new"));
    }, "v1");
    expect(readdirSync(target)).toEqual(["deep"]);
    expect(readFileSync(join(target, "deep"), "utf8")).toBe("untouched\n");
  });

  test("A5 a symlink in place of a directory that only the target has", async () => {
    const target = outside();
    const site = new Site(bench, mirror, upstream.path, `c${++made}`);
    const { commit } = await site.prepare("v1");
    symlinkSync(target, join(site.path, "new"));
    await site.clean(commit, await site.target(""));
    expect(state(site.path)).toEqual(state(site.reference(await site.target(""))));
    expect(readdirSync(target)).toEqual(["deep"]);
  });
});

test("A5 a late writer finds neither the old path nor, by a second name, a file of the next lease", async () => {
  const second = bench.at("second-name");
  let before = "";
  const { site } = await cleaned((path) => {
    before = path;
    linkSync(join(path, "a.txt"), second);
  });
  writeFileSync(second, "late\n");
  expect(readFileSync(join(site.path, "a.txt"), "utf8")).toBe("aaa\n");
  expect(existsSync(before)).toBe(false);
});

test("A5 cleaning again and again keeps being right, without rewriting what nobody touched", async () => {
  const { site, target } = await cleaned(() => {});
  const written = statSync(join(site.path, "dir/deep/d.txt")).ino;
  for (let round = 0; round < 3; round++) {
    appendFileSync(join(site.path, "a.txt"), "x");
    expect(await site.clean(target.commit, target)).toMatchObject({ recreated: false });
  }
  expect(statSync(join(site.path, "dir/deep/d.txt")).ino).toBe(written);
  expect(state(site.path)).toEqual(state(site.reference(target)));
});

describe("A5 what cannot be reused is made again", () => {
  const again = async (spoil: (site: Site) => void): Promise<void> => {
    const site = new Site(bench, mirror, upstream.path, `c${++made}`);
    const target = await site.prepare();
    spoil(site);
    expect(await site.clean(target.commit, target)).toEqual({ kind: "clean", recreated: true });
    expect(state(site.path)).toEqual(state(site.reference(target)));
  };
  test("A5 no files are left", () => again((site) => rmSync(site.path, { recursive: true })));
  test("A5 the trusted index is gone", () => again((site) => rmSync(site.trustedIndex)));
  test("A5 the trusted index is damaged", () => again((site) => appendFileSync(site.trustedIndex, "x")));
  test("A5 the workspace is a symlink now", () =>
    again((site) => {
      renameSync(site.path, bench.at(`elsewhere-${++made}`));
      symlinkSync(bench.at(`elsewhere-${made}`), site.path);
    }));
});

test("A5 the holder's files are in the trash, and emptying it removes them whatever their modes and depth", async () => {
  const { site } = await cleaned((path) => {
    writeFile(join(path, "x/y"), "1");
    chmodSync(join(path, "x"), 0);
    let deep = join(path, "deep");
    for (let level = 0; level < 15; level++) deep = join(deep, "d".repeat(200));
    mkdirSync(deep, { recursive: true });
    symlinkSync(upstream.path, join(path, "to-upstream"));
    // Moved below each other, so that the path grows beyond what the kernel takes at once.
    renameSync(join(path, "deep"), bench.at("deep1"));
    mkdirSync(deep, { recursive: true });
    renameSync(bench.at("deep1"), join(deep, "more"));
  });
  expect(readdirSync(bench.trash).length).toBeGreaterThan(0);
  await bench.engine.emptyTrash(bench.trash);
  expect(readdirSync(bench.trash)).toEqual([]);
  expect(upstream.git("status", "--porcelain")).toBe("");
  const gone = { mirror, candidates: [site.path], trash: bench.trash, trustedIndex: site.trustedIndex, from: "" };
  expect(await bench.engine.discardWorkspace({ ...gone })).toMatchObject({ kind: "clean" });
  expect(await bench.engine.discardWorkspace({ ...gone })).toMatchObject({ kind: "clean" });
  expect(existsSync(site.path)).toBe(false);
  await bench.engine.emptyTrash(bench.trash);
  await bench.engine.emptyTrash(bench.at("no such trash"));
});
