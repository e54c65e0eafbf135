/** Odd meetings of what a commit has, what is staged, and what is on the disk. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { committed, Job, parents, worktree } from "./salvage-support.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
const start = (): Promise<Job> => Job.start(bench, mirror, upstream.path);

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", { lib: "a library\n", "near/a.txt": "aaa\n", "far/b.txt": "bbb\n", "far/deep/c.txt": "c\n" });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

/** Stages a file in a directory that a sparse index has as one entry, and forgets the commit that it was in. */
function stageFarAway(path: string): string {
  writeFile(join(path, "far/deep/mine"), "mine\n");
  git(path, "add", "-A");
  git(path, "commit", "-q", "-m", "mine");
  git(path, "sparse-checkout", "set", "--cone", "--sparse-index", "near");
  git(path, "reset", "-q", "--soft", "HEAD^");
  rmSync(join(path, ".git/logs"), { recursive: true });
  rmSync(join(path, ".git/ORIG_HEAD"));
  expect(git(path, "ls-files", "--sparse", "far")).toBe("far/");
  return git(path, "write-tree");
}

describe("G2 what is staged in a directory that a sparse index has as one entry", () => {
  test("G2 is saved as a tree", async () => {
    const job = await start();
    const tree = stageFarAway(job.path);
    const outcome = await job.saved();
    expect(outcome.incomplete).toEqual([]);
    const fetched = job.fetched(outcome.ref);
    const index = parents(fetched, "salvaged").find((line) => line.startsWith("index "));
    expect(git(fetched, "rev-parse", `${index?.split(" ").at(-1)}^{tree}`)).toBe(tree);
  });

  test("G2 is saved as a tree, of a repository within", async () => {
    const job = await start();
    const inner = join(job.path, "inner");
    mkdirSync(inner);
    git(inner, "init", "-q", "-b", "main");
    writeFile(join(inner, "far/b.txt"), "b\n");
    writeFile(join(inner, "near/a.txt"), "a\n");
    git(inner, "add", "-A");
    git(inner, "commit", "-q", "-m", "inner");
    const tree = stageFarAway(inner);
    const fetched = job.fetched((await job.saved()).ref);
    const index = parents(fetched, "salvaged").find((line) => line.startsWith("nested inner index "));
    expect(git(fetched, "rev-parse", `${index?.split(" ").at(-1)}^{tree}`)).toBe(tree);
  });

  test("G2 is none if it is the commit's", async () => {
    const job = await start();
    git(job.path, "sparse-checkout", "set", "--cone", "--sparse-index", "near");
    const fetched = job.fetched((await job.saved()).ref);
    expect(parents(fetched, "salvaged").map((line) => line.split(" ")[0])).toEqual(["head", "branch"]);
  });
});

test.each(["changed", "as it was"])("G2 a file, %s, where HEAD has a submodule is saved", async (how) => {
  const job = await start();
  if (how === "changed") writeFileSync(join(job.path, "lib"), "mine\n");
  git(job.path, "update-index", "--cacheinfo", `160000,${job.target.commit},lib`);
  git(job.path, "commit", "-q", "-m", "a submodule");
  const fetched = job.fetched((await job.saved()).ref);
  expect(committed(fetched, "salvaged")).toEqual(worktree(job.path));
});
