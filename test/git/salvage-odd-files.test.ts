import { execFileSync } from "node:child_process";
import { chmodSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { UpstreamRepository, writeFile } from "../support/repositories.js";
import { committed, Job, worktree } from "./salvage-support.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
const start = (): Promise<Job> => Job.start(bench, mirror, upstream.path);

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", { "a.txt": "aaa\n", "dir/b.txt": "bbb\n" });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

test("G2 pipes and sockets are named and do not hold anything up", async () => {
  const job = await start();
  execFileSync("mkfifo", [join(job.path, "pipe"), join(job.path, ".git/refs/heads/pipe")]);
  rmSync(join(job.path, "a.txt"));
  execFileSync("mkfifo", [join(job.path, "a.txt")]);
  writeFileSync(join(job.path, "file"), "x");
  const outcome = await job.saved();
  expect(committed(job.fetched(outcome.ref), "salvaged")).toEqual(worktree(job.path));
  expect(outcome.incomplete).toEqual(["pipe", "a.txt"].map((name) => `${name}: it is a pipe, a socket or a device`));
});

test("G2 files and directories without permissions are saved and keep their permissions", async () => {
  const job = await start();
  writeFile(join(job.path, "closed/file"), "x\n");
  writeFile(join(job.path, "unreadable"), "y\n");
  const expected = worktree(job.path);
  chmodSync(join(job.path, "closed"), 0);
  chmodSync(join(job.path, "unreadable"), 0);
  const outcome = await job.saved();
  expect([
    statSync(join(job.path, "closed")).mode & 0o777,
    statSync(join(job.path, "unreadable")).mode & 0o777,
  ]).toEqual([0, 0]);
  expect(committed(job.fetched(outcome.ref), "salvaged")).toEqual(expected);
});

test("G2 a directory called .GIT is saved under a name that git takes", async () => {
  const job = await start();
  writeFile(join(job.path, ".GIT/config"), "x\n");
  const fetched = job.fetched((await job.saved()).ref);
  expect(committed(fetched, "salvaged")[".GIT.salvaged/config"]).toBe("100644 x\n");
});
