import { appendFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { committed, Job, parents, worktree } from "./salvage-support.js";
import { Bench, listing } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let library: UpstreamRepository;
let mirror: string;
const start = (): Promise<Job> => Job.start(bench, mirror, upstream.path);

beforeAll(async () => {
  bench = new Bench();
  library = new UpstreamRepository(bench.at("library"));
  library.commit("lib", { "lib.c": "int lib;\n" });
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", { ".gitignore": "*.log\n/node_modules/\n", "a.txt": "aaa\n" });
  upstream.git("-c", "protocol.file.allow=always", "submodule", "-q", "add", library.path, "libs/sub");
  upstream.git("commit", "-q", "-m", "submodule");
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

/** A repository made by a holder, with commits on two branches, a stash, and a change. */
function makeNested(
  path: string,
  name = "inner",
): { readonly main: string; readonly side: string; readonly stash: string } {
  mkdirSync(path, { recursive: true });
  git(path, "init", "-q", "-b", "main");
  writeFile(join(path, `${name}.txt`), `${name}\n`);
  git(path, "add", "-A");
  git(path, "commit", "-q", "-m", name);
  git(path, "checkout", "-q", "-b", "side");
  writeFile(join(path, "side"), name);
  git(path, "add", "-A");
  git(path, "commit", "-q", "-m", "side");
  const side = git(path, "rev-parse", "HEAD");
  git(path, "checkout", "-q", "main");
  appendFileSync(join(path, `${name}.txt`), "stashed\n");
  git(path, "stash", "-q");
  appendFileSync(join(path, `${name}.txt`), "changed\n");
  writeFile(join(path, "debug.log"), "ignored by the outer repository alone");
  return { main: git(path, "rev-parse", "main"), side, stash: git(path, "rev-parse", "stash") };
}

describe("G2 nested repositories come back:", () => {
  test("G2 files, branches, stashes and staged files of one, and of one within it", async () => {
    const job = await start();
    const outer = makeNested(join(job.path, "work space/outer"), "outer");
    const inner = makeNested(join(job.path, "work space/outer/deep/inner"), "inner");
    writeFile(join(job.path, "work space/outer/staged"), "staged\n");
    git(join(job.path, "work space/outer"), "add", "staged");
    const index = git(join(job.path, "work space/outer"), "write-tree");
    const before = listing(job.path);
    const outcome = await job.saved();
    expect(outcome).toMatchObject({ incomplete: [] });
    expect(listing(job.path)).toEqual(before);
    const fetched = job.fetched(outcome.ref);
    expect(committed(fetched, "salvaged")).toEqual({ ...committed(fetched, "salvaged^1"), ...worktree(job.path) });
    const named = parents(fetched, "salvaged");
    expect(named).toContain(`nested work%20space/outer refs/heads/side ${outer.side}`);
    expect(named).toContain(`nested work%20space/outer/deep/inner refs/heads/side ${inner.side}`);
    expect(named).toContain(`nested work%20space/outer stash@{0} ${outer.stash}`);
    const staged = named
      .find((line) => line.startsWith("nested work%20space/outer index"))
      ?.split(" ")
      .at(-1);
    expect(git(fetched, "rev-parse", `${staged}^{tree}`)).toBe(index);
    for (const id of [outer.main, inner.main, inner.stash]) git(fetched, "merge-base", "--is-ancestor", id, "salvaged");

    const restored = await job.restored(outcome.ref);
    expect(worktree(restored.path)).toEqual(worktree(job.path));
    const refs = git(restored.path, "for-each-ref", "--format=%(objectname) %(refname)", "refs/leasehold/nested");
    expect(refs.split("\n")).toContain(`${outer.side} refs/leasehold/nested/work%20space/outer/heads/side`);
    expect(refs).toContain(inner.stash);
    git(restored.path, "fsck", "--strict");
  });

  test("G2 a submodule with a commit of its own and a changed file", async () => {
    const job = await start();
    git(job.path, "-c", "protocol.file.allow=always", "submodule", "-q", "update", "--init");
    const sub = join(job.path, "libs/sub");
    git(sub, "checkout", "-q", "-b", "fix");
    writeFileSync(join(sub, "lib.c"), "int fixed;\n");
    git(sub, "commit", "-q", "-a", "-m", "fix");
    const fix = git(sub, "rev-parse", "HEAD");
    appendFileSync(join(sub, "lib.c"), "int later;\n");
    const outcome = await job.saved();
    const fetched = job.fetched(outcome.ref);
    expect(committed(fetched, "salvaged")["libs/sub/lib.c"]).toBe("100644 int fixed;\nint later;\n");
    expect(parents(fetched, "salvaged")).toContain(`nested libs/sub refs/heads/fix ${fix}`);
    const restored = await job.restored(outcome.ref);
    expect(worktree(restored.path)).toEqual(worktree(job.path));
    expect(git(restored.path, "cat-file", "-t", fix)).toBe("commit");
  });

  test("G2 a repository of a submodule whose files are gone", async () => {
    const job = await start();
    git(job.path, "-c", "protocol.file.allow=always", "submodule", "-q", "update", "--init");
    git(join(job.path, "libs/sub"), "commit", "-q", "--allow-empty", "-m", "mine");
    const mine = git(join(job.path, "libs/sub"), "rev-parse", "HEAD");
    git(job.path, "submodule", "deinit", "-q", "-f", "libs/sub");
    const fetched = job.fetched((await job.saved()).ref);
    expect(parents(fetched, "salvaged")).toContain(`nested .git/modules/libs/sub HEAD ${mine}`);
  });

  test("G2 a linked worktree in the workspace: its files, its commit and what is staged in it", async () => {
    const job = await start();
    git(job.path, "worktree", "add", "-q", "--detach", "linked");
    const linked = join(job.path, "linked");
    git(linked, "commit", "-q", "--allow-empty", "-m", "mine");
    const mine = git(linked, "rev-parse", "HEAD");
    writeFileSync(join(linked, "a.txt"), "staged\n");
    git(linked, "add", "a.txt");
    const index = git(linked, "write-tree");
    const fetched = job.fetched((await job.saved()).ref);
    git(fetched, "merge-base", "--is-ancestor", mine, "salvaged");
    const staged = parents(fetched, "salvaged").find((line) => line.startsWith("nested linked index"));
    expect(git(fetched, "rev-parse", `${staged?.split(" ").at(-1)}^{tree}`)).toBe(index);
    expect(committed(fetched, "salvaged")["linked/a.txt"]).toBe("100644 staged\n");
  });

  test("G2 one without commits and files is told, and one in an ignored directory is not saved", async () => {
    const job = await start();
    makeNested(join(job.path, "node_modules/dependency"));
    expect(await job.salvage()).toEqual({ kind: "none" });
    mkdirSync(join(job.path, "fresh"));
    git(join(job.path, "fresh"), "init", "-q");
    const fetched = job.fetched((await job.saved()).ref);
    expect(git(fetched, "log", "-1", "--format=%(trailers:key=Leasehold-Nested,valueonly)", "salvaged").trim()).toBe(
      "fresh",
    );
    expect(committed(fetched, "salvaged")).toEqual(committed(fetched, "salvaged^1"));
  });

  test("G2 one whose .git leads out of the workspace: the files, and nothing from there", async () => {
    const job = await start();
    const outside = bench.at("outside");
    const { side } = makeNested(outside);
    for (const [name, link] of [
      ["pointer", false],
      ["symlink", true],
    ] as const) {
      const path = join(job.path, name);
      mkdirSync(path);
      writeFileSync(join(path, "file"), name);
      if (link) symlinkSync(join(outside, ".git"), join(path, ".git"));
      else writeFileSync(join(path, ".git"), `gitdir: ${outside}/.git\n`);
    }
    const outcome = await job.saved();
    expect(outcome.incomplete).toHaveLength(2);
    const fetched = job.fetched(outcome.ref);
    expect(committed(fetched, "salvaged")).toMatchObject({
      "pointer/file": "100644 pointer",
      "symlink/file": "100644 symlink",
    });
    expect(() => git(job.salvages, "cat-file", "-e", side)).toThrow();
  });

  test("G2 a repository put in place of a tracked directory", async () => {
    const job = await start();
    rmSync(join(job.path, "a.txt"));
    const { side } = makeNested(join(job.path, "a.txt"));
    const fetched = job.fetched((await job.saved()).ref);
    expect(Object.keys(committed(fetched, "salvaged"))).toContain("a.txt/inner.txt");
    git(fetched, "merge-base", "--is-ancestor", side, "salvaged");
  });
});
