import { randomBytes } from "node:crypto";
import { appendFileSync, chmodSync, existsSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { committed, Job, parents, worktree } from "./salvage-support.js";
import { Bench, listing } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
const start = (revision = ""): Promise<Job> => Job.start(bench, mirror, upstream.path, revision);

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", {
    ".gitignore": "*.log\nbuild/\n",
    ".gitattributes": "crlf.txt eol=crlf\n",
    "a.txt": "aaa\n",
    "dir/b.txt": "bbb\n",
    "dir/sub/c.txt": "ccc\n",
    "run.sh": { run: "#!/bin/sh\n" },
    "crlf.txt": "one\ntwo\n",
    link: { link: "a.txt" },
  });
  upstream.commit("second", { "a.txt": "aaaa\n" });
  upstream.git("branch", "other", "HEAD~1");
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

function commitFile(path: string, name: string, content = name): string {
  writeFile(join(path, name), content);
  git(path, "add", "-f", name);
  git(path, "commit", "-q", "-m", `add ${name}`);
  return git(path, "rev-parse", "HEAD");
}

describe("G2 every kind of unsaved work comes back by plain git fetch:", () => {
  const kinds: Record<string, (path: string) => unknown> = {
    "a changed file": (path) => appendFileSync(join(path, "a.txt"), "more\n"),
    "a file that is gone": (path) => rmSync(join(path, "dir/b.txt")),
    "a directory that is gone": (path) => rmSync(join(path, "dir"), { recursive: true }),
    "an untracked file": (path) => writeFile(join(path, "new/deep/file"), "new\n"),
    "binary and empty files": (path) => {
      writeFileSync(join(path, "bin"), Buffer.from([0, 255, 10, 13, 0]));
      writeFileSync(join(path, "empty"), "");
    },
    "an executable bit": (path) => chmodSync(join(path, "a.txt"), 0o755),
    "an executable bit that was taken away": (path) => chmodSync(join(path, "run.sh"), 0o644),
    "a symlink": (path) => symlinkSync("/nowhere", join(path, "new link")),
    "a symlink in place of a file": (path) => {
      rmSync(join(path, "a.txt"));
      symlinkSync("dir", join(path, "a.txt"));
    },
    "a file in place of a directory": (path) => writeFile(join(path, "dir"), "file\n"),
    "a directory in place of a file": (path) => {
      rmSync(join(path, "a.txt"));
      writeFile(join(path, "a.txt/inside"), "x");
    },
    "a changed file with converted line ends": (path) => writeFileSync(join(path, "crlf.txt"), "one\r\nthree\n"),
    "a file that was ignored and is tracked now": (path) => {
      commitFile(path, "kept.log", "one");
      writeFileSync(join(path, "kept.log"), "two");
    },
    "names with newlines, quotes and other bytes": (path) => {
      writeFileSync(join(path, 'new\nline "quoted" \\ ü'), "x");
      writeFileSync(Buffer.concat([Buffer.from(`${path}/not-utf8-`), Buffer.from([0xff, 0xfe])]), "y");
    },
    "a commit, and a change on top": (path) => {
      commitFile(path, "mine");
      appendFileSync(join(path, "mine"), "more");
    },
    "another commit of the mirror's with a change on top": (path) => {
      git(path, "checkout", "-q", "--detach", "origin/other");
      appendFileSync(join(path, "dir/b.txt"), "more");
    },
  };
  test.each(Object.keys(kinds))("G2 %s", async (name) => {
    const job = await start();
    await kinds[name]?.(job.path);
    writeFile(join(job.path, "build/ignored"), "x");
    const before = { files: listing(job.path), git: listing(join(job.path, ".git")) };
    const expected = worktree(job.path, name.includes("tracked now") ? /^build/ : /^build|\.log$/);
    // An untouched file is the commit's, whatever a checkout made of its line ends.
    if (!name.includes("converted")) expected["crlf.txt"] = "100644 one\ntwo\n";
    const outcome = await job.saved();
    expect(outcome).toMatchObject({ ref: `refs/leasehold/salvage/s-${job.site.name}`, incomplete: [] });
    expect({ files: listing(job.path), git: listing(join(job.path, ".git")) }).toEqual(before);
    const fetched = job.fetched(outcome.ref);
    expect(git(fetched, "rev-parse", "salvaged")).toBe(outcome.commit);
    expect(committed(fetched, "salvaged")).toEqual(expected);
    expect(git(fetched, "rev-parse", "salvaged^1")).toBe(git(job.path, "rev-parse", "HEAD"));

    const restored = await job.restored(outcome.ref);
    expect(worktree(restored.path)).toEqual(
      worktree(job.path, name.includes("tracked now") ? /^build/ : /^build|\.log$/),
    );
    expect(git(restored.path, "status", "--porcelain", "--branch")).toBe(
      git(job.path, "status", "--porcelain", "--branch"),
    );
  });

  test("G2 what is staged, as a tree of its own", async () => {
    const job = await start();
    writeFileSync(join(job.path, "a.txt"), "staged\n");
    writeFile(join(job.path, "new"), "staged new\n");
    git(job.path, "add", "a.txt", "new");
    git(job.path, "rm", "-q", "--cached", "dir/b.txt");
    git(job.path, "update-index", "--chmod=+x", "dir/sub/c.txt");
    writeFileSync(join(job.path, "a.txt"), "later\n");
    const tree = git(job.path, "write-tree");
    const outcome = await job.saved();
    const fetched = job.fetched(outcome.ref);
    const [, index] = parents(fetched, "salvaged");
    expect(index).toMatch(/^index [0-9a-f]{40}$/);
    expect(git(fetched, "rev-parse", "salvaged^2^{tree}")).toBe(tree);
    expect(index).toBe(`index ${git(fetched, "rev-parse", "salvaged^2")}`);
    const restored = await job.restored(outcome.ref);
    const state = (path: string) => [git(path, "status", "--porcelain"), git(path, "ls-files", "-s")];
    expect(state(restored.path)).toEqual(state(job.path));
  });

  test("G2 unresolved conflicts with all their sides", async () => {
    const job = await start();
    git(job.path, "checkout", "-q", "-b", "one");
    commitFile(job.path, "a.txt", "one\n");
    git(job.path, "checkout", "-q", "-b", "two", "origin/main");
    commitFile(job.path, "a.txt", "two\n");
    expect(() => git(job.path, "merge", "-q", "one")).toThrow();
    const outcome = await job.saved();
    const restored = await job.restored(outcome.ref);
    expect(git(restored.path, "ls-files", "-s")).toBe(git(job.path, "ls-files", "-s"));
    expect(worktree(restored.path)).toEqual(worktree(job.path));
  });

  test("G2 commits of HEAD, branches, tags, and of the reflog alone", async () => {
    const job = await start();
    git(job.path, "checkout", "-q", "-b", "topic/x");
    const topic = commitFile(job.path, "one");
    const tagged = commitFile(job.path, "two");
    git(job.path, "tag", "-a", "-m", "mine", "v-mine");
    git(job.path, "tag", "light");
    git(job.path, "reset", "-q", "--hard", topic);
    const lost = commitFile(job.path, "lost");
    git(job.path, "reset", "-q", "--hard", topic);
    git(job.path, "checkout", "-q", "--detach", "origin/main");
    const detached = commitFile(job.path, "detached");
    git(job.path, "pack-refs", "--all");
    git(job.path, "gc", "-q");
    const outcome = await job.saved();
    expect(outcome).toMatchObject({ files: 0, commits: 4 });
    const fetched = job.fetched(outcome.ref);
    for (const id of [topic, tagged, lost, detached]) git(fetched, "merge-base", "--is-ancestor", id, "salvaged");
    const named = parents(fetched, "salvaged");
    expect(named).toContain(`head ${detached}`);
    expect(named).toContain(`branch refs/heads/topic/x ${topic}`);
    expect(named).toContain(`tag refs/tags/light ${tagged}`);
    expect(named).toContain(`reflog HEAD@{3} ${lost}`);

    const restored = await job.restored(outcome.ref);
    const refs = (path: string) => git(path, "for-each-ref", "--format=%(refname) %(objectname)");
    expect(refs(restored.path)).toBe(refs(job.path));
    expect(git(restored.path, "cat-file", "tag", "v-mine")).toBe(git(job.path, "cat-file", "tag", "v-mine"));
    expect(git(restored.path, "log", "--all", "--format=%H")).toBe(git(job.path, "log", "--all", "--format=%H"));
    expect(git(restored.path, "reflog", "--format=%H")).toContain(lost);
    expect(git(restored.path, "status", "--branch", "--porcelain")).toBe("## HEAD (no branch)");
    git(restored.path, "fsck", "--strict");
  });

  test("G2 objects of every size and form: loose and packed, small and large, whole and as deltas", async () => {
    const job = await start();
    const grow = (round: number): void => {
      const words = Array.from({ length: 3000 * round }, (_, n) => `${n * n * round} line ${n % 7}\n`);
      for (let n = 0; n < 300; n++) writeFile(join(job.path, `wide/${round % 2}/name-${n * n}-${round}`), `${n}\n`);
      for (let n = 0; n < 40; n++) writeFile(join(job.path, `sizes/${n}`), words.slice(0, n * n * round).join(""));
      writeFileSync(join(job.path, "noise"), randomBytes(70_000 * round));
      git(job.path, "add", "-A");
      git(job.path, "commit", "-q", "-m", words.join("").slice(0, 50_000));
    };
    for (const round of [1, 2]) grow(round);
    git(job.path, "repack", "-q", "-a", "-d", "-f", "--depth=50");
    for (const round of [3, 4]) grow(round);
    const objects = git(job.path, "rev-list", "--objects", "HEAD", "--no-object-names");
    const outcome = await job.saved();
    expect(outcome).toMatchObject({ files: 0, commits: 4, incomplete: [] });
    const fetched = job.fetched(outcome.ref);
    git(fetched, "fsck", "--strict");
    expect(git(fetched, "rev-list", "--objects", "salvaged^1", "--no-object-names")).toBe(objects);
  });

  test("G2 every stash, the older ones too, with what was staged and untracked", async () => {
    const job = await start();
    for (const round of ["first", "second", "third"]) {
      writeFileSync(join(job.path, "a.txt"), `${round} staged\n`);
      git(job.path, "add", "a.txt");
      writeFileSync(join(job.path, "a.txt"), `${round}\n`);
      writeFileSync(join(job.path, `untracked-${round}`), round);
      git(job.path, "stash", "push", "-q", "-u", "-m", round);
    }
    git(job.path, "stash", "drop", "-q", "stash@{1}");
    const list = git(job.path, "stash", "list", "--format=%gd %H %s");
    const outcome = await job.saved();
    const fetched = job.fetched(outcome.ref);
    const stashes = parents(fetched, "salvaged").filter((line) => line.startsWith("stash"));
    expect(stashes).toEqual([0, 1].map((n) => `stash@{${n}} ${git(job.path, "rev-parse", `stash@{${n}}`)}`));
    const restored = await job.restored(outcome.ref);
    expect(git(restored.path, "stash", "list", "--format=%gd %H %s")).toBe(list);
    git(restored.path, "stash", "pop", "-q", "--index", "stash@{1}");
    expect(git(restored.path, "diff", "--cached")).toContain("+first staged");
    expect(existsSync(join(restored.path, "untracked-first"))).toBe(true);
  });
});

describe("G2 what is no work makes no salvage:", () => {
  const idle: Record<string, (path: string) => unknown> = {
    nothing: () => {},
    "ignored files": (path) => writeFile(join(path, "build/x"), "x"),
    "the same content written again": (path) => {
      writeFileSync(join(path, "a.txt"), "aaaa\n");
      writeFileSync(join(path, "crlf.txt"), "one\r\ntwo\r\n");
    },
    "another commit that the mirror has": (path) => git(path, "checkout", "-q", "other"),
    "a repack": (path) => git(path, "gc", "-q"),
    "what was committed and pushed": async (path) => {
      commitFile(path, "pushed");
      git(path, "push", "-q", "origin", "HEAD:refs/heads/pushed");
      await bench.fetch(mirror, upstream.path);
    },
  };
  test.each(Object.keys(idle))("G2 %s", async (name) => {
    const job = await start();
    await idle[name]?.(job.path);
    expect(await job.salvage()).toEqual({ kind: "none" });
    expect(existsSync(job.salvages)).toBe(false);
    const directory = bench.at("salvages");
    const left = existsSync(directory) ? readdirSync(directory).filter((entry) => entry.includes("tmp")) : [];
    expect(left).toEqual([]);
  });
});
