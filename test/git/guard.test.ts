import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { Bench, listing, Site, state } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;
type Mischief = (path: string) => unknown;

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", {
    ".gitignore": "*.log\nbuild/\n",
    "sub/.gitignore": "/local\n!keep.log\n",
    "a.txt": "aaa\n",
    "dir/c.txt": "ccc\n",
    "crlf.txt": "one\ntwo\n",
    ".gitattributes": "crlf.txt eol=crlf\n",
    link: { link: "a.txt" },
  });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

async function guarded(mischief: Mischief) {
  const site = new Site(bench, mirror, upstream.path, `g${++made}`);
  const target = await site.prepare();
  await mischief(site.path);
  const before = { path: site.path, files: listing(site.path), git: gitListing(site.path) };
  const outcome = await site.clean(target.commit, target, { guardWork: true });
  return { site, target, before, outcome };
}

function gitListing(path: string): string[] {
  const directory = join(path, ".git");
  try {
    return listing(directory);
  } catch {
    return [];
  }
}

function commitFile(path: string, name: string): void {
  writeFile(join(path, name), name);
  git(path, "add", "-f", name);
  git(path, "commit", "-q", "-m", name);
}

describe("A5 work that exists nowhere else is not destroyed:", () => {
  const work: Record<string, readonly [Mischief, string]> = {
    "a changed file": [(path) => appendFileSync(join(path, "a.txt"), "x"), "1 changed file"],
    "a removed file": [(path) => rmSync(join(path, "a.txt")), "1 changed file"],
    "a changed symlink": [
      (path) => {
        rmSync(join(path, "link"));
        symlinkSync("dir", join(path, "link"));
      },
      "1 changed file",
    ],
    "an executable bit": [(path) => chmodSync(join(path, "a.txt"), 0o755), "1 changed file"],
    "a changed file with converted line ends": [
      (path) => writeFileSync(join(path, "crlf.txt"), "one\r\nthree\r\n"),
      "1 changed file",
    ],
    "untracked files": [
      (path) => {
        writeFile(join(path, "new/x"), "x");
        writeFile(join(path, "dir/y"), "y");
      },
      "2 untracked files",
    ],
    "a file that only the holder's own rules ignore": [
      (path) => {
        writeFile(join(path, "new/.gitignore"), "*\n");
        appendFileSync(join(path, ".git/info/exclude"), "secret\n");
        writeFile(join(path, "secret"), "x");
      },
      "2 untracked files",
    ],
    "a file that a rule below takes back": [(path) => writeFile(join(path, "sub/keep.log"), "x"), "1 untracked file"],
    "a nested repository": [
      (path) => {
        mkdirSync(join(path, "inner"));
        git(join(path, "inner"), "init", "-q");
      },
      "1 nested repository",
    ],
    "a commit": [(path) => commitFile(path, "new"), "1 commit that the mirror lacks"],
    "a commit on another branch": [
      (path) => {
        git(path, "checkout", "-q", "-b", "mine");
        commitFile(path, "new");
        git(path, "checkout", "-q", "main");
      },
      "1 commit that the mirror lacks",
    ],
    "a detached commit that only the reflog names": [
      (path) => {
        commitFile(path, "new");
        git(path, "reset", "-q", "--hard", "HEAD~1");
      },
      "1 commit that the mirror lacks",
    ],
    "a packed tag": [
      (path) => {
        git(path, "tag", "-a", "-m", "mine", "mine");
        git(path, "pack-refs", "--all");
      },
      "1 commit that the mirror lacks",
    ],
    "a stash": [
      (path) => {
        appendFileSync(join(path, "a.txt"), "x");
        git(path, "stash", "-q");
      },
      "1 commit that the mirror lacks",
    ],
    "what is staged only": [
      (path) => {
        writeFileSync(join(path, "a.txt"), "staged\n");
        git(path, "add", "a.txt");
        writeFileSync(join(path, "a.txt"), "aaa\n");
      },
      "1 staged file",
    ],
    "what is staged in an index of version 4": [
      (path) => {
        git(path, "update-index", "--index-version", "4");
        writeFileSync(join(path, "a.txt"), "staged\n");
        git(path, "add", "a.txt");
        writeFileSync(join(path, "a.txt"), "aaa\n");
      },
      "1 staged file",
    ],
    "files behind a symlink in place of a directory": [
      (path) => {
        renameSync(join(path, "dir"), bench.at(`dir-${++made}`));
        symlinkSync(bench.at(`dir-${made}`), join(path, "dir"));
      },
      "1 changed file, 1 untracked file",
    ],
  };
  test.each(Object.keys(work))("A5 %s", async (name) => {
    const [mischief, detail] = work[name] as readonly [Mischief, string];
    const { site, before, outcome } = await guarded(mischief);
    expect(outcome).toEqual({ kind: "unsaved", path: before.path, detail });
    expect(listing(site.path)).toEqual(before.files);
    expect(gitListing(site.path)).toEqual(before.git);
    const { trustedIndex } = site;
    const request = { mirror, candidates: [site.path], trash: bench.trash, trustedIndex, from: upstream.id("HEAD") };
    expect(await bench.engine.discardWorkspace({ ...request, guardWork: true })).toEqual(outcome);
    expect(listing(site.path)).toEqual(before.files);
    expect(await bench.engine.discardWorkspace({ ...request, guardWork: false })).toMatchObject({ kind: "clean" });
  });
});

describe("A5 what is no work does not stop the cleaning:", () => {
  const idle: Record<string, Mischief> = {
    nothing: () => {},
    "git commands that only look": (path) => {
      git(path, "status");
      git(path, "fetch", "-q");
      git(path, "gc", "-q");
    },
    "files that were written with the same content": (path) => {
      writeFileSync(join(path, "a.txt"), "aaa\n");
      writeFileSync(join(path, "crlf.txt"), "one\r\ntwo\r\n");
      rmSync(join(path, "link"));
      symlinkSync("a.txt", join(path, "link"));
    },
    "ignored files and empty directories": (path) => {
      writeFile(join(path, "x.log"), "x");
      writeFile(join(path, "build/deep/x"), "x");
      writeFile(join(path, "sub/local"), "x");
      mkdirSync(join(path, "empty/empty"), { recursive: true });
      mkdirSync(join(path, "build/repository"));
      git(join(path, "build/repository"), "init", "-q");
    },
    "a checkout of what the mirror has": (path) => {
      git(path, "checkout", "-q", "--detach");
      git(path, "branch", "x");
      git(path, "tag", "y");
    },
    pipes: (path) => execFileSync("mkfifo", [join(path, "pipe"), join(path, ".git/refs/heads/pipe")]),
    "a broken .git": (path) => {
      writeFileSync(join(path, ".git/index"), "garbage");
      writeFileSync(join(path, ".git/HEAD"), "garbage");
      writeFileSync(join(path, ".git/packed-refs"), "garbage\n^garbage\n");
    },
    "no .git": (path) => rmSync(join(path, ".git"), { recursive: true }),
  };
  test.each(Object.keys(idle))("A5 %s", async (name) => {
    const { site, target, outcome } = await guarded(idle[name] as Mischief);
    expect(outcome).toEqual({ kind: "clean", recreated: false });
    expect(state(site.path)).toEqual(state(site.reference(target)));
  });
});

describe("A5 without a trusted index the files themselves are compared", () => {
  test("A5 with the commit they are of", async () => {
    const same = await guarded(() => rmSync(bench.at("indexes", `g${made}`)));
    expect(same.outcome).toEqual({ kind: "clean", recreated: true });
    const changed = await guarded((path) => {
      rmSync(bench.at("indexes", `g${made}`));
      appendFileSync(join(path, "dir/c.txt"), "x");
    });
    expect(changed.outcome).toMatchObject({ kind: "unsaved", detail: "1 changed file" });
  });

  test("A5 and where that is unknown, with the commit that HEAD is at, or else every file is work", async () => {
    const site = new Site(bench, mirror, upstream.path, `g${++made}`);
    const target = await site.prepare();
    rmSync(site.trustedIndex);
    appendFileSync(join(site.path, "a.txt"), "x");
    for (const from of ["", "1".repeat(40)]) {
      expect(await site.clean(from, target, { guardWork: true })).toMatchObject({ detail: "1 changed file" });
    }
    writeFileSync(join(site.path, "a.txt"), "aaa\n");
    rmSync(join(site.path, ".git"), { recursive: true });
    expect(await site.clean("", target, { guardWork: true })).toMatchObject({ detail: "7 untracked files" });
  });
});

test("A5 the guard leaves nothing of its own behind", () => {
  expect(readdirSync(bench.trash).filter((name) => name.startsWith("guard"))).toEqual([]);
});
