import { execFileSync } from "node:child_process";
import { appendFileSync, chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { Job } from "./salvage-support.js";
import { Bench, listing } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;
type Mischief = (path: string) => unknown;
/** An annotated tag and what is staged only are neither, and saved nevertheless. */
type Found = { readonly files: number; readonly commits: number };

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

/** What is saved after it: how many files and commits, or nothing. The workspace itself is left as it is. */
async function found(mischief: (path: string, trustedIndex: string) => unknown, from?: string) {
  const job = await Job.start(bench, mirror, upstream.path);
  await mischief(job.path, job.site.trustedIndex);
  const before = [listing(job.path), gitListing(job.path)];
  const outcome = await job.salvage(from === undefined ? {} : { from });
  expect([listing(job.path), gitListing(job.path)]).toEqual(before);
  if (outcome.kind !== "saved") return outcome.kind;
  expect(outcome.incomplete).toEqual([]);
  return { files: outcome.files, commits: outcome.commits };
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

describe("G2 work that exists nowhere else is saved:", () => {
  const work: Record<string, readonly [Mischief, Found]> = {
    "a changed file": [(path) => appendFileSync(join(path, "a.txt"), "x"), { files: 1, commits: 0 }],
    "a removed file": [(path) => rmSync(join(path, "a.txt")), { files: 1, commits: 0 }],
    "a changed symlink": [
      (path) => {
        rmSync(join(path, "link"));
        symlinkSync("dir", join(path, "link"));
      },
      { files: 1, commits: 0 },
    ],
    "an executable bit": [(path) => chmodSync(join(path, "a.txt"), 0o755), { files: 1, commits: 0 }],
    "a changed file with converted line ends": [
      (path) => writeFileSync(join(path, "crlf.txt"), "one\r\nthree\r\n"),
      { files: 1, commits: 0 },
    ],
    "untracked files": [
      (path) => {
        writeFile(join(path, "new/x"), "x");
        writeFile(join(path, "dir/y"), "y");
      },
      { files: 2, commits: 0 },
    ],
    "a file that only the holder's own rules ignore": [
      (path) => {
        writeFile(join(path, "new/.gitignore"), "*\n");
        appendFileSync(join(path, ".git/info/exclude"), "secret\n");
        writeFile(join(path, "secret"), "x");
      },
      { files: 2, commits: 0 },
    ],
    "a file that a rule below takes back": [
      (path) => writeFile(join(path, "sub/keep.log"), "x"),
      { files: 1, commits: 0 },
    ],
    "a file that the holder's own rules take back": [
      (path) => {
        writeFile(join(path, "build/x"), "x");
        appendFileSync(join(path, ".gitignore"), "!build/\n");
      },
      { files: 2, commits: 0 },
    ],
    "a file that a new file of rules takes back, in a directory of the commit": [
      (path) => {
        writeFile(join(path, "dir/x.log"), "x");
        writeFile(join(path, "dir/.gitignore"), "!*.log\n");
      },
      { files: 2, commits: 0 },
    ],
    "a file that a new file of rules takes back, in a new directory": [
      (path) => {
        writeFile(join(path, "new/deep/x.log"), "x");
        writeFile(join(path, "new/.gitignore"), "!x.log\n");
        writeFile(join(path, "new/deep/y.log"), "y");
      },
      { files: 2, commits: 0 },
    ],
    "a file that was ignored by rules that are no more": [
      (path) => {
        writeFile(join(path, "x.log"), "x");
        rmSync(join(path, ".gitignore"));
      },
      { files: 2, commits: 0 },
    ],
    "a file that HEAD's commit ignores, and the workspace does not": [
      (path) => {
        git(path, "rm", "-q", ".gitignore");
        git(path, "commit", "-q", "-m", "No rules");
        git(path, "reset", "-q", "--soft", "HEAD~1");
        writeFile(join(path, "x.log"), "x");
      },
      { files: 2, commits: 1 },
    ],
    "a file that rules take back among others that a simpler way would try for ever": [
      (path) => {
        writeFile(join(path, `${"a".repeat(240)}.log`), "x");
        appendFileSync(join(path, ".gitignore"), "!*.log\n*a*a*a*a*a*a*a*b\n");
      },
      { files: 2, commits: 0 },
    ],
    "a nested repository": [
      (path) => {
        mkdirSync(join(path, "inner"));
        git(join(path, "inner"), "init", "-q");
      },
      { files: 0, commits: 0 },
    ],
    "a commit": [(path) => commitFile(path, "new"), { files: 0, commits: 1 }],
    "a commit on another branch": [
      (path) => {
        git(path, "checkout", "-q", "-b", "mine");
        commitFile(path, "new");
        git(path, "checkout", "-q", "main");
      },
      { files: 0, commits: 1 },
    ],
    "a detached commit that only the reflog names": [
      (path) => {
        commitFile(path, "new");
        git(path, "reset", "-q", "--hard", "HEAD~1");
      },
      { files: 0, commits: 1 },
    ],
    "a packed tag": [
      (path) => {
        git(path, "tag", "-a", "-m", "mine", "mine");
        git(path, "pack-refs", "--all");
      },
      { files: 0, commits: 0 },
    ],
    "a stash": [
      (path) => {
        appendFileSync(join(path, "a.txt"), "x");
        git(path, "stash", "-q");
      },
      { files: 0, commits: 2 },
    ],
    "what is staged only": [
      (path) => {
        writeFileSync(join(path, "a.txt"), "staged\n");
        git(path, "add", "a.txt");
        writeFileSync(join(path, "a.txt"), "aaa\n");
      },
      { files: 0, commits: 0 },
    ],
    "what is staged in an index of version 4": [
      (path) => {
        git(path, "update-index", "--index-version", "4");
        writeFileSync(join(path, "a.txt"), "staged\n");
        git(path, "add", "a.txt");
        writeFileSync(join(path, "a.txt"), "aaa\n");
      },
      { files: 0, commits: 0 },
    ],
    "what is staged in a split index": [
      (path) => {
        writeFileSync(join(path, "a.txt"), "staged\n");
        git(path, "add", "a.txt");
        git(path, "update-index", "--split-index");
        writeFileSync(join(path, "a.txt"), "aaa\n");
      },
      { files: 0, commits: 0 },
    ],
    "files behind a symlink in place of a directory": [
      (path) => {
        renameSync(join(path, "dir"), bench.at(`dir-${++made}`));
        symlinkSync(bench.at(`dir-${made}`), join(path, "dir"));
      },
      { files: 2, commits: 0 },
    ],
  };
  test.each(Object.keys(work))("G2 %s", async (name) => {
    const [mischief, expected] = work[name] as readonly [Mischief, Found];
    expect(await found(mischief)).toEqual(expected);
  });
});

describe("G2 what is no work leaves no salvage:", () => {
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
  test.each(Object.keys(idle))("G2 %s", async (name) => {
    expect(await found(idle[name] as Mischief)).toBe("none");
  });
});

describe("G2 without a trusted index the files themselves are compared", () => {
  test("G2 with the commit they are of", async () => {
    expect(await found((_, trustedIndex) => rmSync(trustedIndex))).toBe("none");
    const changed = await found((path, trustedIndex) => {
      rmSync(trustedIndex);
      appendFileSync(join(path, "dir/c.txt"), "x");
    });
    expect(changed).toEqual({ files: 1, commits: 0 });
  });

  test("G2 and where that is unknown, with the commit that HEAD is at, or else every file is work", async () => {
    for (const from of ["", "1".repeat(40)]) {
      const changed = await found((path, trustedIndex) => {
        rmSync(trustedIndex);
        appendFileSync(join(path, "a.txt"), "x");
      }, from);
      expect(changed).toEqual({ files: 1, commits: 0 });
    }
    const all = await found((path, trustedIndex) => {
      rmSync(trustedIndex);
      rmSync(join(path, ".git"), { recursive: true });
    }, "");
    expect(all).toEqual({ files: 7, commits: 0 });
  });
});

test("G2 what a commit of the mirror ignores, and neither the workspace nor HEAD, is work", async () => {
  const other = new UpstreamRepository(bench.at("other"));
  other.commit("ignoring", { ".gitignore": "build/\n", "a.txt": "a\n" });
  other.git("tag", "v1");
  other.commit("not ignoring", { ".gitignore": "build/\n!build/\n" });
  const job = await Job.start(bench, await bench.mirror(other.path, "other"), other.path);
  writeFile(join(job.path, "build/out.o"), "mine");
  git(job.path, "reset", "-q", "--soft", "v1");
  git(job.path, "commit", "-q", "-a", "-m", "HEAD is not the mirror's, its parent is");
  const { files, commits, commit } = await job.saved();
  expect([files, commits]).toEqual([1, 1]);
  expect(git(job.salvages, "show", `${commit}:build/out.o`)).toBe("mine");
});
