import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Failure } from "../../src/domain/failure.js";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { committed, Job, worktree } from "./salvage-support.js";
import { Bench, listing } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
const start = (salvages = ""): Promise<Job> => Job.start(bench, mirror, upstream.path, "", salvages);

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", { "a.txt": "aaa\n", "dir/b.txt": "bbb\n" });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

function commitFile(path: string, name: string): string {
  writeFile(join(path, name), `${name}\n`);
  git(path, "add", "-A");
  git(path, "commit", "-q", "-m", name);
  return git(path, "rev-parse", "HEAD");
}

/** What stands beside the repository of salvages. */
function beside(job: Job): string[] {
  const directory = dirname(job.salvages);
  if (!existsSync(directory)) return [];
  return readdirSync(directory).filter((name) => name.startsWith(`${basename(job.salvages)}.`));
}

/** Process ids of this process's git workers. */
function workers(): number[] {
  return readdirSync("/proc").flatMap((name) => {
    try {
      const parent = readFileSync(`/proc/${name}/stat`, "utf8").split(") ")[1]?.split(" ")[1];
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8");
      return Number(parent) === process.pid && command.includes("git/worker/main.js") ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

describe("G2 a salvage is complete in itself", () => {
  test("G2 it outlives a force-push, the mirror and the workspace, and is in neither", async () => {
    const other = new UpstreamRepository(bench.at("fleeting"));
    other.commit("one");
    const fleeting = await bench.mirror(other.path, "fleeting");
    const job = await Job.start(bench, fleeting, other.path);
    const sibling = await Job.start(bench, fleeting, other.path);
    const mine = commitFile(job.path, "mine");
    appendFileSync(join(job.path, "mine"), "more");
    const { ref, commit } = await job.saved();
    for (const place of [fleeting, join(sibling.path, ".git")]) {
      for (const id of [mine, commit]) expect(() => git(place, "cat-file", "-e", id)).toThrow();
    }
    expect(existsSync(join(job.salvages, "objects/info/alternates"))).toBe(false);
    const expected = worktree(job.path);
    other.git("checkout", "-q", "--orphan", "fresh");
    other.git("commit", "-q", "--allow-empty", "-m", "fresh");
    other.git("branch", "-q", "-D", "main");
    rmSync(fleeting, { recursive: true });
    rmSync(job.path, { recursive: true });
    git(job.salvages, "fsck", "--strict", "--full");
    expect(committed(job.fetched(ref), "salvaged")).toEqual(expected);
    git(job.salvages, "gc", "-q", "--prune=now");
    expect(committed(job.fetched(ref), "salvaged")).toEqual(expected);
  });

  test("G2 the same work gives the same salvage", async () => {
    const job = await start();
    commitFile(job.path, "mine");
    writeFileSync(join(job.path, "untracked"), "x");
    const first = await job.saved();
    expect(await job.saved()).toEqual(first);
    rmSync(job.salvages, { recursive: true });
    expect(await job.saved()).toEqual(first);
  });

  test("G2 several at once do not disturb each other, and two places of one workspace are both saved", async () => {
    const salvages = bench.at("salvages/shared.git");
    const [one, two, three] = await Promise.all([start(salvages), start(salvages), start(salvages)]);
    const jobs = [one, two, three];
    for (const [number, job] of jobs.entries()) writeFileSync(join(job.path, "mine"), String(number));
    const outcomes = await Promise.all(jobs.map((job) => job.saved()));
    for (const [number, { ref }] of outcomes.entries()) {
      expect(committed(jobs[number]?.fetched(ref) ?? "", "salvaged").mine).toBe(`100644 ${number}`);
    }
    const both = await one.saved({ candidates: [one.path, two.path] });
    const fetched = one.fetched(both.ref);
    expect(committed(fetched, "salvaged").mine).toBe("100644 0");
    const [also] = git(fetched, "log", "-1", "--format=%P", "salvaged").split(" ").slice(-1);
    expect(committed(fetched, also ?? "").mine).toBe("100644 1");
    expect(both.files).toBe(2);
  });
});

describe("G2 beyond the limits nothing is cut and nothing is changed:", () => {
  const large = "x".repeat(10_000);
  const cases: Record<string, readonly [(path: string) => unknown, RegExp]> = {
    "a large file": [(path) => writeFileSync(join(path, "large\nfile"), large), /^file large%0afile has 10000 bytes/],
    "a large file in a commit": [
      (path) => {
        writeFileSync(join(path, "large"), large);
        commitFile(path, "x");
        git(path, "reset", "-q", "--hard", "HEAD~1");
      },
      /^object [0-9a-f]{40} has 10000 bytes/,
    ],
    "many files": [
      (path) => {
        for (let n = 0; n < 30; n++) writeFileSync(join(path, `f${n}`), `${n}`.repeat(400));
      },
      /^the work has more than the limit of 20000 bytes/,
    ],
  };
  test.each(Object.keys(cases))("G2 %s", async (name) => {
    const [work, detail] = cases[name] as (typeof cases)[string];
    const job = await start();
    await work(job.path);
    const before = [listing(job.path), listing(join(job.path, ".git"))];
    const outcome = await job.salvage({ limits: { fileBytes: 5000, totalBytes: 20_000 } });
    expect(outcome).toEqual({ kind: "refused", path: job.path, detail: expect.stringMatching(detail) });
    expect([listing(job.path), listing(join(job.path, ".git"))]).toEqual(before);
    expect([existsSync(job.salvages), beside(job)]).toEqual([false, []]);
    await job.saved();
  });
});

describe("G2 a worker that is killed in the middle of a salvage leaves nothing that the next one does not mend:", () => {
  const moments: Record<string, (job: Job) => boolean> = {
    "when it has begun": (job) => beside(job).length > 0,
    "while it writes objects": (job) => {
      const [name] = beside(job);
      const pack = join(dirname(job.salvages), name ?? "", "pack/new.pack");
      return name !== undefined && existsSync(pack) && readFileSync(pack).length > 20_000;
    },
    "when the repository is there": (job) => existsSync(job.salvages),
    "when the pack is there": (job) =>
      existsSync(join(job.salvages, "objects/pack")) &&
      readdirSync(join(job.salvages, "objects/pack")).length > readdirSync(join(mirror, "objects/pack")).length,
  };
  test.each(Object.keys(moments))("G2 %s", async (name) => {
    const own = new Bench({ lanes: { local: 1 } });
    try {
      const job = await Job.start(own, mirror, upstream.path);
      for (let n = 0; n < 800; n++) writeFile(join(job.path, `new/${n % 50}/f${n}`), `${n}\n`);
      const expected = worktree(job.path);
      const attempt = job.salvage().then(
        () => "finished",
        (error: Failure) => error.reason,
      );
      const moment = moments[name] as (job: Job) => boolean;
      const begin = Date.now();
      while (!moment(job) && Date.now() - begin < 20_000) await new Promise(setImmediate);
      for (const pid of workers()) process.kill(pid, "SIGKILL");
      expect(["INTERNAL", "finished"]).toContain(await attempt);
      expect(worktree(job.path)).toEqual(expected);
      const { ref } = await job.saved();
      expect(committed(job.fetched(ref), "salvaged")).toEqual(expected);
      expect(beside(job)).toEqual([]);
      git(job.salvages, "fsck", "--strict");
    } finally {
      await own.close();
    }
  });
});

describe("G2 discarding a salvage", () => {
  test("G2 takes its ref, the last one takes the repository, and it may be done again", async () => {
    const salvages = bench.at("salvages/discarded.git");
    const jobs = [await start(salvages), await start(salvages)] as [Job, Job];
    for (const job of jobs) writeFileSync(join(job.path, "mine"), job.site.name);
    const refs = [(await jobs[0].saved()).ref, (await jobs[1].saved()).ref] as [string, string];
    git(salvages, "pack-refs", "--all");
    await bench.engine.discardSalvage(salvages, refs[0]);
    await bench.engine.discardSalvage(salvages, refs[0]);
    expect(git(salvages, "for-each-ref", "--format=%(refname)")).toBe(refs[1]);
    git(jobs[1].fetched(refs[1]), "fsck");
    await expect(jobs[1].restored(refs[0])).rejects.toMatchObject({ reason: "SALVAGE_NOT_FOUND" });
    await bench.engine.discardSalvage(salvages, refs[1]);
    expect([existsSync(salvages), beside(jobs[0])]).toEqual([false, []]);
    await bench.engine.discardSalvage(salvages, refs[1]);
    await expect(jobs[1].restored(refs[1])).rejects.toMatchObject({ reason: "SALVAGE_NOT_FOUND" });
  });

  test("G2 never takes a salvage that is being made", async () => {
    const salvages = bench.at("salvages/raced.git");
    const job = await start(salvages);
    writeFileSync(join(job.path, "mine"), "mine");
    const { report } = job.request();
    for (let round = 0; round < 5; round++) {
      const old = await job.saved({ report: { ...report, salvageId: `old-${round}` } });
      const [made] = await Promise.all([
        job.saved({ report: { ...report, salvageId: `new-${round}` } }),
        bench.engine.discardSalvage(salvages, old.ref),
      ]);
      expect(git(salvages, "for-each-ref", "--format=%(refname)").split("\n")).toContain(made.ref);
      await bench.engine.discardSalvage(salvages, made.ref);
    }
  });
});

describe("G2 restoring a salvage", () => {
  test("G2 to a workspace at any commit, on any branch, brings back what the holder had", async () => {
    const moved = new UpstreamRepository(bench.at("moved"));
    moved.commit("one", { "a.txt": "1\n", "crlf.txt": "x\ny\n", "old/file": "x" });
    const own = await bench.mirror(moved.path, "moved");
    const job = await Job.start(bench, own, moved.path);
    commitFile(job.path, "mine");
    writeFileSync(join(job.path, "crlf.txt"), "x\nz\n");
    const { ref } = await job.saved();
    moved.commit("two", {
      ".gitattributes": "crlf.txt eol=crlf\n",
      "old/file": null,
      old: "a file now\n",
      mine: "theirs",
    });
    moved.git("branch", "other");
    await bench.fetch(own, moved.path);
    for (const revision of ["", "other", moved.id("HEAD")]) {
      const restored = await job.restored(ref, revision);
      expect(worktree(restored.path)).toEqual(worktree(job.path));
      expect(git(restored.path, "status", "--porcelain")).toBe(git(job.path, "status", "--porcelain"));
      expect(git(restored.path, "rev-parse", "HEAD", "main")).toBe(git(job.path, "rev-parse", "HEAD", "main"));
      git(restored.path, "fsck", "--strict");
      // What was restored is work again.
      expect(await restored.saved()).toMatchObject({ files: 1, commits: 1 });
    }
  });

  test("G2 brings nothing of other salvages along", async () => {
    const salvages = bench.at("salvages/neighbours.git");
    const [one, two] = [await start(salvages), await start(salvages)];
    const other = commitFile(one.path, "others");
    const mine = commitFile(two.path, "mine");
    await one.saved();
    const restored = await two.restored((await two.saved()).ref);
    expect(git(restored.path, "cat-file", "-t", mine)).toBe("commit");
    expect(() => git(restored.path, "cat-file", "-e", other)).toThrow();
  });

  test("G2 in an empty repository", async () => {
    const empty = new UpstreamRepository(bench.at("empty"), "start");
    const own = await bench.mirror(empty.path, "empty");
    const job = await Job.start(bench, own, empty.path);
    writeFileSync(join(job.path, "first"), "x\n");
    git(job.path, "add", "first");
    const staged = await job.saved();
    const restored = await job.restored(staged.ref);
    expect(git(restored.path, "status", "--porcelain", "--branch")).toBe(
      git(job.path, "status", "--porcelain", "--branch"),
    );
    git(job.path, "commit", "-q", "-m", "first");
    const { ref } = await job.saved();
    const again = await job.restored(ref);
    expect(git(again.path, "log", "--format=%H")).toBe(git(job.path, "log", "--format=%H"));
  });
});
