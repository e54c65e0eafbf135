/** What git could read and a salvage does not look at: nothing is destroyed then. */
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { git, UpstreamRepository, writeFile } from "../support/repositories.js";
import { asHolder, isRoot, Scene } from "./holder-support.js";
import { Job, parents } from "./salvage-support.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
const start = (): Promise<Job> => Job.start(bench, mirror, upstream.path);

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", { "a.txt": "aaa\n", ".gitignore": "*.log\n" });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

/** A commit of the holder's; answers its id. */
function commit(path: string, name = "mine"): string {
  writeFile(join(path, name), `${name}\n`);
  git(path, "add", "-A");
  git(path, "commit", "-q", "-m", name);
  return git(path, "rev-parse", "HEAD");
}

function sparse(path: string, bytes: number): void {
  closeSync(openSync(path, "w"));
  truncateSync(path, bytes);
}

/** The layout of git's reftable(5): the references are in tables, and `refs/heads` is a file. */
function useReftable(directory: string): void {
  rmSync(join(directory, "refs"), { recursive: true });
  rmSync(join(directory, "logs"), { recursive: true, force: true });
  rmSync(join(directory, "packed-refs"), { force: true });
  mkdirSync(join(directory, "refs"));
  writeFileSync(join(directory, "refs/heads"), "this repository uses the reftable format\n");
  writeFileSync(join(directory, "HEAD"), "ref: refs/heads/.invalid\n");
  mkdirSync(join(directory, "reftable"));
  writeFileSync(join(directory, "reftable/tables.list"), "0x000000000001-0x000000000001-4b9d1d0e.ref\n");
  writeFileSync(join(directory, "reftable/0x000000000001-0x000000000001-4b9d1d0e.ref"), "REFT");
  appendFileSync(join(directory, "config"), "[extensions]\n\trefStorage = reftable\n");
}

describe("G2 a workspace is kept as it is, with work in a repository", () => {
  const kinds: Record<string, (path: string) => unknown> = {
    "whose references are in tables": (path) => {
      commit(path);
      useReftable(join(path, ".git"));
    },
    "of another object format": (path) => {
      rmSync(join(path, ".git"), { recursive: true });
      git(path, "init", "-q", "--object-format=sha256");
      commit(path);
    },
    "of another object format, staged and never committed": (path) => {
      rmSync(join(path, ".git"), { recursive: true });
      git(path, "init", "-q", "--object-format=sha256");
      git(path, "add", "a.txt");
    },
    "of another object format, detached": (path) => {
      mkdirSync(join(path, "inner"));
      git(join(path, "inner"), "init", "-q", "--object-format=sha256");
      commit(join(path, "inner"));
      git(join(path, "inner"), "checkout", "-q", "--detach");
    },
    "within, whose references are in tables": (path) => {
      mkdirSync(join(path, "inner"));
      git(join(path, "inner"), "init", "-q");
      commit(join(path, "inner"));
      useReftable(join(path, "inner/.git"));
    },
    "within it, of another object format, whose references are packed": (path) => {
      mkdirSync(join(path, "inner"));
      git(join(path, "inner"), "init", "-q", "--object-format=sha256");
      commit(join(path, "inner"));
      git(join(path, "inner"), "pack-refs", "--all");
    },
    "with a file that is too large": (path) => {
      commit(path);
      sparse(join(path, ".git/packed-refs"), 300 * 1024 ** 2);
    },
    "within, with a file that is too large": (path) => {
      mkdirSync(join(path, "inner"));
      git(join(path, "inner"), "init", "-q");
      commit(join(path, "inner"));
      sparse(join(path, "inner/.git/packed-refs"), 300 * 1024 ** 2);
    },
    "with more packs than are looked at": (path) => {
      commit(path);
      git(path, "repack", "-q", "-a", "-d");
      const packs = join(path, ".git/objects/pack");
      const [name = ""] = readdirSync(packs).filter((one) => one.endsWith(".idx"));
      for (let copy = 0; copy < 450; copy++) {
        const stem = join(packs, `pack-${String(copy).padStart(40, "0")}`);
        for (const kind of ["idx", "pack"]) linkSync(join(packs, name.replace(/idx$/, kind)), `${stem}.${kind}`);
      }
      appendFileSync(join(path, ".git/packed-refs"), `${"12".repeat(20)} refs/heads/zzz\n`);
    },
    "whose pack has an index that makes no sense": (path) => {
      commit(path);
      git(path, "repack", "-q", "-a", "-d");
      const packs = join(path, ".git/objects/pack");
      for (const name of readdirSync(packs).filter((one) => one.endsWith(".idx"))) {
        chmodSync(join(packs, name), 0o644);
        truncateSync(join(packs, name), 0);
      }
    },
  };
  test.each(Object.keys(kinds))("G2 %s", async (name) => {
    const job = await start();
    await kinds[name]?.(job.path);
    expect(await job.salvage()).toMatchObject({ kind: "refused", path: job.path });
  });
});

test("G2 an index that cannot be read is work, and told, also of a repository within", async () => {
  const job = await start();
  writeFileSync(join(job.path, ".git/index"), "DIRC\0\0\0\x02\xff\xff\xff\xffgarbage");
  expect((await job.saved()).incomplete).toEqual(["the index: it cannot be read"]);
  mkdirSync(join(job.path, "inner"));
  git(join(job.path, "inner"), "init", "-q");
  writeFileSync(join(job.path, "inner/.git/index"), "DIRC\0\0\0\x02\xff\xff\xff\xffgarbage");
  expect((await job.saved()).incomplete).toContain("nested repository inner: its index cannot be read");
});

test("G2 a reference counts as git reads it, whatever follows the id in its file, and in capitals", async () => {
  const job = await start();
  const [first, second] = [commit(job.path, "one"), commit(job.path, "two")];
  git(job.path, "reset", "-q", "--hard", job.target.commit);
  rmSync(join(job.path, ".git/logs"), { recursive: true });
  writeFileSync(join(job.path, ".git/refs/heads/capitals"), `${first.toUpperCase()}\n`);
  const long = join(job.path, ".git/refs/heads/long");
  writeFileSync(long, `${second}\n`);
  truncateSync(long, 300 * 1024 ** 2);
  expect(git(job.path, "rev-parse", "capitals")).toBe(first);
  const named = parents(job.fetched((await job.saved()).ref), "salvaged");
  expect(named).toContain(`branch refs/heads/capitals ${first}`);
  expect(named).toContain(`branch refs/heads/long ${second}`);
});

describe.skipIf(!isRoot)("with a second user", () => {
  test.each(["refs/heads/mine", "logs/refs/heads/mine", "packed-refs", "index", "objects/pack", "refs/heads"])(
    "G2 a workspace is kept as it is where its .git/%s may not be read",
    async (name) => {
      const scene = await new Scene().open();
      try {
        const { site, target } = await scene.workspace();
        asHolder(
          'cd "$1" && git checkout -q -b mine && git commit -q --allow-empty -m mine && git pack-refs',
          site.path,
        );
        asHolder('cd "$1" && git commit -q --allow-empty -m more', site.path);
        const place = join(site.path, ".git", name);
        chownSync(place, 0, 0);
        chmodSync(place, 0o600);
        const { mirror, trustedIndex, path } = site;
        const report = { salvageId: "s1", repository: "m", workspaceId: "m-1", leaseId: "l", holder: "", caller: "" };
        const outcome = await scene.bench.engine.salvageWork({
          ...{ mirror, trustedIndex, candidates: [path], from: target.commit, salvageIgnored: [] },
          salvages: scene.bench.at("salvages", "m.git"),
          report: { ...report, reason: "EXPIRED" },
          limits: { fileBytes: 1024 ** 2, totalBytes: 1024 ** 2 },
        });
        expect(outcome).toMatchObject({ kind: "refused", path });
      } finally {
        await scene.bench.close();
      }
    },
  );
});
