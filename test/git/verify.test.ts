import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { Bench, Site } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", {
    "a.txt": "aaa\n",
    "dir/c.txt": "ccc\n",
    "dir/deep/d.txt": "ddd\n",
    "run.sh": { run: "#!/bin/sh\n" },
    link: { link: "a.txt" },
    "crlf.txt": "one\ntwo\n",
    "ident.txt": "$Id$\n",
    ".gitattributes": "crlf.txt eol=crlf\nident.txt ident\n",
  });
  upstream.git("tag", "-a", "v1", "-m", "one");
  upstream.commit("next", { "a.txt": "AAA\n" });
  upstream.git("branch", "other", "v1");
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

const newSite = (of = mirror, url = upstream.path): Site => new Site(bench, of, url, `v${++made}`);

/** What verification finds after `mischief`; the workspace was pristine before. */
async function foundAfter(mischief: (path: string) => unknown, deep = false): Promise<readonly string[]> {
  const site = newSite();
  const target = await site.prepare();
  expect(await site.verify(target, { deep })).toMatchObject({ kind: "pristine", files: 8 });
  await mischief(site.path);
  const verification = await site.verify(target, { deep });
  return verification.kind === "pristine" ? [] : verification.findings;
}

/** Changes a file in place and puts its times back. */
function alter(path: string, content: string | Buffer): void {
  const { atime, mtime } = statSync(path);
  const file = openSync(path, "r+");
  ftruncateSync(file, 0);
  closeSync(file);
  writeFileSync(path, content);
  utimesSync(path, atime, mtime);
}

describe("G1 a workspace passes verification, shallow and deep, where it is", () => {
  test.each([
    ["at a branch", "", {}],
    ["at a tag, detached", "v1", {}],
    ["on a branch of the holder's wish", "", { branch: "work/here" }],
    ["on a branch that the origin has as well", "", { branch: "other" }],
    ["with an author", "", { author: { name: 'A "quoted" \\ name', email: "a@example.com" } }],
    ["with copies of the mirror's objects", "", { objectStorage: "COPY" as const }],
    ["with links to the mirror's objects", "", { objectStorage: "LINK" as const }],
  ])("G1 %s", async (_, revision, more) => {
    const site = newSite();
    const target = await site.prepare(revision, more);
    for (const deep of [false, true])
      expect(await site.verify(target, { ...more, deep })).toMatchObject({ kind: "pristine" });
  });

  test("G1 of an empty repository", async () => {
    const empty = new UpstreamRepository(bench.at("empty"), "trunk");
    const site = newSite(await bench.mirror(empty.path, "empty-mirror"), empty.path);
    const target = await site.prepare();
    expect(target).toMatchObject({ commit: "", head: "refs/heads/trunk" });
    for (const deep of [false, true])
      expect(await site.verify(target, { deep })).toEqual({ kind: "pristine", files: 0 });
    writeFileSync(join(site.path, "x"), "x");
    expect(await site.verify(target)).toMatchObject({ findings: ["x: is not of the commit"] });
  });

  test("G1 while the mirror has moved on, but not where somebody else changed its references", async () => {
    const source = new UpstreamRepository(bench.at("moving"));
    source.commit("one");
    const moving = await bench.mirror(source.path, "moving-mirror");
    const site = newSite(moving, source.path);
    const target = await site.prepare();
    const packed = join(site.path, ".git/packed-refs");
    alter(packed, readFileSync(packed, "utf8").replace("origin/main", "origin/more"));
    expect(await site.verify(target)).toMatchObject({ findings: [expect.stringMatching(/packed-refs/)] });
    await site.clean(target.commit, target);
    source.commit("two");
    source.git("tag", "later");
    await bench.fetch(moving, source.path);
    for (const deep of [false, true]) expect(await site.verify(target, { deep })).toMatchObject({ kind: "pristine" });
    const moved = join(site.path, ".git/packed-refs");
    appendFileSync(moved, `${"1".repeat(40)} refs/tags/planted\n`);
    const planted = await site.verify(target);
    expect(planted).toMatchObject({ kind: "differs" });
    expect(JSON.stringify(planted)).toMatch(/packed-refs: has other content/);
  });
});

describe("G1 verification finds", () => {
  const mischief: Record<string, readonly [(path: string) => unknown, RegExp]> = {
    "an untracked file": [(path) => writeFileSync(join(path, "x"), ""), /^x: is not of the commit/],
    "an untracked file with a name of two lines": [(path) => writeFileSync(join(path, "x\ny"), ""), /^x\\ny: /],
    "an empty directory": [(path) => mkdirSync(join(path, "dir/e")), /^dir\/e: is not of the commit/],
    "a nested repository": [(path) => mkdirSync(join(path, "dir/.git")), /^dir\/\.git: is not of the commit/],
    "a missing file": [(path) => rmSync(join(path, "dir/c.txt")), /^dir\/c\.txt: is missing/],
    "an edit whose size and times were put back": [
      (path) => alter(join(path, "a.txt"), "BBB\n"),
      /^a\.txt: has been touched/,
    ],
    "a file written anew with equal content": [
      (path) => {
        rmSync(join(path, "a.txt"));
        writeFileSync(join(path, "a.txt"), "AAA\n");
      },
      /^a\.txt: has been touched/,
    ],
    "permissions of a file": [(path) => chmodSync(join(path, "a.txt"), 0o666), /^a\.txt: has other permissions/],
    "a set-uid bit": [(path) => chmodSync(join(path, "run.sh"), 0o4755), /^run\.sh: has other permissions/],
    "permissions of a directory": [(path) => chmodSync(join(path, "dir"), 0o777), /^dir: a directory with other/],
    "permissions of the workspace": [(path) => chmodSync(path, 0o700), /^\.: a directory with other/],
    "a second name of a file": [
      (path) => linkSync(join(path, "a.txt"), bench.at(`second-${made}`)),
      /^a\.txt: has other names/,
    ],
    "a pipe in place of a file": [
      (path) => {
        rmSync(join(path, "a.txt"));
        execFileSync("mkfifo", [join(path, "a.txt")]);
      },
      /^a\.txt: is of another kind/,
    ],
    "a symlink in place of a directory": [
      (path) => {
        renameSync(join(path, "dir"), bench.at(`dir-${made}`));
        symlinkSync(bench.at(`dir-${made}`), join(path, "dir"));
      },
      /^dir: is no directory/,
    ],
    "a symlink to elsewhere": [
      (path) => {
        rmSync(join(path, "link"));
        symlinkSync("/etc/x", join(path, "link"));
      },
      /^link: has been touched/,
    ],
    "a .git that is a file": [
      (path) => {
        rmSync(join(path, ".git"), { recursive: true });
        writeFileSync(join(path, ".git"), "gitdir: /\n");
      },
      /^\.git: is no directory/,
    ],
    "a .git that is a symlink": [
      (path) => {
        renameSync(join(path, ".git"), bench.at(`git-${made}`));
        symlinkSync(bench.at(`git-${made}`), join(path, ".git"));
      },
      /^\.git: is no directory/,
    ],
    "a setting": [(path) => git(path, "config", "core.fsmonitor", "x"), /^\.git\/config: has other content/],
    "a setting that is one of ours twice": [
      (path) => appendFileSync(join(path, ".git/config"), "[core]\n\tbare = false\n"),
      /^\.git\/config: has other content/,
    ],
    "another upstream": [
      (path) => git(path, "remote", "set-url", "origin", "https://x.example.com/y.git"),
      /^\.git\/config: has other content/,
    ],
    "another HEAD": [(path) => git(path, "checkout", "-q", "--detach"), /^\.git\/HEAD: has other content/],
    "a branch": [(path) => git(path, "branch", "x"), /^\.git\/(logs\/)?refs\/heads\/x: is not of a clone/],
    "a stash": [
      (path) => {
        appendFileSync(join(path, "a.txt"), "x");
        git(path, "stash", "-q");
      },
      /refs\/stash: is not of a clone/,
    ],
    "a second line in a reflog": [
      (path) => appendFileSync(join(path, ".git/logs/HEAD"), readFileSync(join(path, ".git/logs/HEAD"))),
      /^\.git\/logs\/HEAD: has other content/,
    ],
    "an index with flags": [
      (path) => git(path, "update-index", "--skip-worktree", "a.txt"),
      /^\.git\/index: has other/,
    ],
    "a missing index": [(path) => rmSync(join(path, ".git/index")), /^\.git\/index: is missing/],
    "a hook": [
      (path) => writeFile(join(path, ".git/hooks/post-checkout"), { run: "#!/bin/sh\n" }),
      /post-checkout: is not/,
    ],
    "words in the sample of a hook": [
      (path) => appendFileSync(join(path, ".git/hooks/README.sample"), "touch /x\n"),
      /README\.sample: has other content/,
    ],
    "an excluded name": [
      (path) => appendFileSync(join(path, ".git/info/exclude"), "*.o\n"),
      /exclude: has other content/,
    ],
    "attributes of its own": [(path) => writeFileSync(join(path, ".git/info/attributes"), ""), /attributes: is not/],
    "a graft": [(path) => writeFileSync(join(path, ".git/info/grafts"), ""), /grafts: is not/],
    "a shallow mark": [(path) => writeFileSync(join(path, ".git/shallow"), ""), /shallow: is not/],
    "a common directory": [(path) => writeFileSync(join(path, ".git/commondir"), "/x\n"), /commondir: is not/],
    "a settings file of a worktree": [
      (path) => writeFileSync(join(path, ".git/config.worktree"), ""),
      /worktree: is not/,
    ],
    "linked worktrees": [(path) => mkdirSync(join(path, ".git/worktrees")), /worktrees: is not/],
    "git directories of submodules": [(path) => mkdirSync(join(path, ".git/modules")), /modules: is not/],
    "a lock": [(path) => writeFileSync(join(path, ".git/index.lock"), ""), /index\.lock: is not/],
    alternates: [(path) => writeFileSync(join(path, ".git/objects/info/alternates"), "/x\n"), /alternates: is not/],
    "a pack that the mirror lacks": [
      (path) => {
        appendFileSync(join(path, "a.txt"), "x");
        git(path, "commit", "-q", "-a", "-m", "mine");
        git(path, "repack", "-q", "-a", "-d");
        git(path, "reset", "-q", "--hard", "HEAD~1");
      },
      /^\.git\/objects\/pack\/pack-.*: is no object of the mirror/,
    ],
    "a loose object": [
      (path) => git(path, "hash-object", "-w", "crlf.txt", "--no-filters"),
      /^\.git\/objects\/..\/.*: is no object of the mirror/,
    ],
    "missing objects": [
      (path) => {
        const packs = join(path, ".git/objects/pack");
        for (const name of readdirSync(packs)) rmSync(join(packs, name));
      },
      /^\.git\/objects: objects are missing/,
    ],
    "a pipe in .git": [
      (path) => {
        rmSync(join(path, ".git/config"));
        execFileSync("mkfifo", [join(path, ".git/config")]);
      },
      /^\.git\/config: is no file/,
    ],
    "a huge file in .git": [
      (path) => execFileSync("truncate", ["-s", "4T", join(path, ".git/HEAD")]),
      /HEAD: has other/,
    ],
    "packed references that are changed": [
      (path) => git(path, "update-ref", "refs/remotes/origin/main", "v1^{commit}"),
      /refs\/remotes\/origin\/main: is not of a clone/,
    ],
  };
  test.each(Object.entries(mischief))("G1 %s", async (_, [action, finding]) => {
    expect(await foundAfter(action)).toContainEqual(expect.stringMatching(finding));
  });

  test.runIf(process.getuid?.() === 0)("G1 another owner of a file, a directory, a file of .git", async () => {
    const findings = await foundAfter((path) => {
      for (const name of ["a.txt", "dir", ".git/config"]) chownSync(join(path, name), 65_534, 65_534);
    });
    for (const finding of [
      /^a\.txt: belongs to another user/,
      /^dir: belongs to another user/,
      /^\.git\/config: belongs to another user/,
    ]) {
      expect(findings).toContainEqual(expect.stringMatching(finding));
    }
  });

  test("G1 at most twenty differences, and says how many more there are", async () => {
    const findings = await foundAfter((path) => {
      for (let i = 0; i < 50; i++) writeFileSync(join(path, `x${i}`), "");
    });
    expect(findings).toHaveLength(20);
    expect(findings.at(-1)).toBe("31 more");
  });
});
