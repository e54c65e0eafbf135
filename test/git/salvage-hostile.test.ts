import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { committed, Job, parents, worktree } from "./salvage-support.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let foreign: UpstreamRepository;
let secret: string;
let mirror: string;
const start = (): Promise<Job> => Job.start(bench, mirror, upstream.path);

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", { "a.txt": "aaa\n", "dir/b.txt": "bbb\n" });
  mirror = await bench.mirror(upstream.path);
  foreign = new UpstreamRepository(bench.at("foreign"));
  secret = foreign.commit("secret", { "secret.txt": "of somebody else\n" });
});
afterAll(() => bench.close());

/** Two commits on a branch; answers their ids. */
function work(path: string): { readonly first: string; readonly second: string; readonly blob: string } {
  git(path, "checkout", "-q", "-b", "work");
  const commit = (name: string): string => {
    writeFile(join(path, name), `${name}\n`);
    git(path, "add", "-A");
    git(path, "commit", "-q", "-m", name);
    return git(path, "rev-parse", "HEAD");
  };
  const first = commit("one");
  const second = commit("two");
  return { first, second, blob: git(path, "rev-parse", "HEAD:two") };
}

describe("G2 nothing of anybody else gets into a salvage:", () => {
  const lures: Record<string, (path: string) => unknown> = {
    "a symlink for the objects": (path) => {
      rmSync(join(path, ".git/objects"), { recursive: true });
      symlinkSync(join(foreign.path, ".git/objects"), join(path, ".git/objects"));
    },
    "a symlink for a directory of objects": (path) => {
      for (const name of readdirSync(join(foreign.path, ".git/objects"))) {
        rmSync(join(path, ".git/objects", name), { recursive: true, force: true });
        symlinkSync(join(foreign.path, ".git/objects", name), join(path, ".git/objects", name));
      }
    },
    alternates: (path) =>
      writeFile(join(path, ".git/objects/info/alternates"), `${join(foreign.path, ".git/objects")}\n`),
    "a symlink for .git": (path) => {
      rmSync(join(path, ".git"), { recursive: true });
      symlinkSync(join(foreign.path, ".git"), join(path, ".git"));
    },
    "a file for .git": (path) => {
      rmSync(join(path, ".git"), { recursive: true });
      writeFileSync(join(path, ".git"), `gitdir: ${join(foreign.path, ".git")}\n`);
    },
    commondir: (path) => writeFileSync(join(path, ".git/commondir"), join(foreign.path, ".git")),
    "a symlink for a directory of files": (path) => {
      rmSync(join(path, "dir"), { recursive: true });
      symlinkSync(foreign.path, join(path, "dir"));
    },
  };
  test.each(Object.keys(lures))("G2 %s", async (name) => {
    const job = await start();
    await lures[name]?.(job.path);
    if (existsSync(join(job.path, ".git/refs")) && !name.endsWith(" .git")) {
      writeFileSync(join(job.path, ".git/refs/heads/lure"), `${secret}\n`);
    }
    writeFileSync(join(job.path, "mine"), "mine");
    const outcome = await job.saved();
    const fetched = job.fetched(outcome.ref);
    expect(committed(fetched, "salvaged").mine).toBe("100644 mine");
    const all = git(job.salvages, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split("\n");
    expect(all).toContain(outcome.commit);
    for (const id of git(foreign.path, "rev-list", "--objects", "--all").split("\n")) {
      expect(all).not.toContain(id.slice(0, 40));
    }
  });
});

test("G2 no program, filter or hook of a holder runs, and none of its settings counts", async () => {
  const job = await start();
  const { second } = work(job.path);
  const canary = bench.at("canary");
  const program = bench.at("program");
  writeFileSync(program, `#!/bin/sh\ntouch ${canary}\ncat\n`);
  chmodSync(program, 0o755);
  const config = `[core]
	fsmonitor = ${program}
	hooksPath = ${bench.at()}
	worktree = ${foreign.path}
	excludesFile = ${bench.at("excludes")}
	autocrlf = true
[filter "x"]
	clean = ${program}
	smudge = ${program}
	process = ${program}
	required = true
[diff "x"]
	textconv = ${program}
[uploadpack]
	packObjectsHook = ${program}
[include]
	path = /dev/zero
`;
  mkdirSync(join(job.path, "inner"));
  git(join(job.path, "inner"), "init", "-q");
  writeFileSync(bench.at("excludes"), "*\n");
  writeFile(join(job.path, ".gitattributes"), "* filter=x diff=x text eol=crlf\n");
  writeFile(join(job.path, "inner/.gitattributes"), "* filter=x\n");
  writeFile(join(job.path, "inner/file"), "a\r\nb\n");
  writeFile(join(job.path, "file"), "a\r\nb\n");
  for (const directory of [".git", "inner/.git"]) {
    appendFileSync(join(job.path, directory, "config"), config);
    writeFile(join(job.path, directory, "info/attributes"), "* filter=x\n");
    writeFile(join(job.path, directory, "info/exclude"), "*\n");
    for (const hook of ["post-checkout", "pre-commit", "post-index-change", "reference-transaction"]) {
      writeFile(join(job.path, directory, "hooks", hook), { run: `#!/bin/sh\ntouch ${canary}\n` });
    }
  }
  writeFile(join(job.path, ".git/info/grafts"), `${second}\n`);
  writeFile(join(job.path, `.git/refs/replace/${second}`), `${git(mirror, "rev-parse", "HEAD")}\n`);
  writeFile(join(job.path, "later"), "x");
  rmSync(canary, { force: true });
  const outcome = await job.saved();
  const fetched = job.fetched(outcome.ref);
  expect(committed(fetched, "salvaged")).toEqual(worktree(job.path));
  git(fetched, "merge-base", "--is-ancestor", second, "salvaged");
  const restored = await job.restored(outcome.ref);
  expect(worktree(restored.path)).toEqual(worktree(job.path));
  expect(existsSync(canary)).toBe(false);
  expect(git(restored.path, "config", "-l", "--local")).not.toContain(program);
});

test("G2 names of refs and paths cannot forge a line of the report, and come back under names that git takes", async () => {
  const job = await start();
  const { first, second } = work(job.path);
  const forged = `refs/heads/x\nLeasehold-Parent: branch refs/heads/main ${first}`;
  mkdirSync(join(job.path, ".git/refs/heads/x\nLeasehold-Parent: branch refs/heads"), { recursive: true });
  writeFileSync(join(job.path, `.git/${forged}`), `${second}\n`);
  writeFileSync(join(job.path, ".git/refs/heads/a..b ~^:?*[\x1b[31m"), `${first}\n`);
  writeFileSync(join(job.path, "evil\n\nLeasehold-Head: detached"), "x");
  const outcome = await job.saved({
    report: { ...job.request().report, holder: "Eve\n\nLeasehold-Salvage: forged", reason: "\x1b]0;x\x07" },
  });
  const fetched = job.fetched(outcome.ref);
  const message = git(fetched, "log", "-1", "--format=%B", "salvaged");
  expect(message).not.toMatch(/^Leasehold-Parent: branch refs\/heads\/main .*\n.*\nLeasehold-Salvage: forged/m);
  expect(message.match(/^Leasehold-Salvage: .*$/gm)).toEqual([`Leasehold-Salvage: s-${job.site.name}`]);
  expect(message.match(/^Leasehold-Head: .*$/gm)).toEqual(["Leasehold-Head: refs/heads/work"]);
  expect(parents(fetched, "salvaged").filter((line) => line.startsWith("branch refs/heads/main"))).toHaveLength(1);
  expect(message).not.toMatch(/[\x00-\x09\x0b-\x1f]/);
  const restored = await job.restored(outcome.ref);
  expect(git(restored.path, "rev-parse", "main")).toBe(job.target.commit);
  const others = git(restored.path, "for-each-ref", "--format=%(objectname)", "refs/leasehold/salvaged");
  expect(others.split("\n").sort()).toEqual([first, second].sort());
});
