import { execFileSync } from "node:child_process";
import {
  chmodSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
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
  upstream.commit("base", { "a.txt": "aaa\n", "dir/b.txt": "bbb\n" });
  mirror = await bench.mirror(upstream.path);
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

function loose(path: string, id: string): string {
  return join(path, ".git/objects", id.slice(0, 2), id.slice(2));
}

function overwrite(path: string, content: string | Uint8Array): void {
  rmSync(path, { force: true });
  writeFileSync(path, content);
}

/** The files must be there, whatever else is not. */
async function filesOf(job: Job) {
  const outcome = await job.saved();
  const fetched = job.fetched(outcome.ref);
  expect(committed(fetched, "salvaged")).toEqual(worktree(job.path));
  return { outcome, fetched };
}

describe("G2 a damaged repository costs its damaged commits, never files:", () => {
  const damages: Record<string, (path: string, ids: ReturnType<typeof work>) => unknown> = {
    "a truncated loose object": (path, { blob }) => {
      chmodSync(loose(path, blob), 0o644);
      truncateSync(loose(path, blob), 10);
    },
    "garbage for a loose object": (path, { blob }) => overwrite(loose(path, blob), "garbage"),
    "an empty loose object": (path, { blob }) => overwrite(loose(path, blob), ""),
    "a missing object": (path, { blob }) => rmSync(loose(path, blob)),
    "another object's content": (path, { blob }) => overwrite(loose(path, blob), deflateSync("blob 5\0hello")),
    "a header that promises gigabytes": (path, { blob }) =>
      overwrite(loose(path, blob), deflateSync("blob 99999999999\0tiny")),
    "a header that promises less than there is": (path, { blob }) =>
      overwrite(loose(path, blob), deflateSync(Buffer.concat([Buffer.from("blob 3\0"), Buffer.alloc(50_000_000)]))),
    "a pipe for an object": (path, { blob }) => {
      rmSync(loose(path, blob));
      execFileSync("mkfifo", [loose(path, blob)]);
    },
    "a symlink for an object": (path, { blob }) => {
      renameSync(loose(path, blob), bench.at(blob));
      symlinkSync(bench.at(blob), loose(path, blob));
    },
    "a corrupt pack": (path) => {
      git(path, "repack", "-q", "-a", "-d");
      const [pack] = readdirSync(join(path, ".git/objects/pack")).filter((name) => name.endsWith(".pack"));
      const place = join(path, ".git/objects/pack", pack ?? "");
      const bytes = readFileSync(place);
      bytes.fill(0xaa, 12, bytes.length - 20);
      overwrite(place, bytes);
    },
    "a truncated pack": (path) => {
      git(path, "repack", "-q", "-a", "-d");
      const [pack] = readdirSync(join(path, ".git/objects/pack")).filter((name) => name.endsWith(".pack"));
      const place = join(path, ".git/objects/pack", pack ?? "");
      overwrite(place, readFileSync(place).subarray(0, statSync(place).size / 2));
    },
    "a pack's index full of nonsense": (path) => {
      git(path, "repack", "-q", "-a", "-d");
      for (const name of readdirSync(join(path, ".git/objects/pack"))) {
        const place = join(path, ".git/objects/pack", name);
        if (!name.endsWith(".idx")) continue;
        const bytes = readFileSync(place);
        bytes.fill(0xfe, 8 + 1024);
        overwrite(place, bytes);
      }
    },
    "a pack's index whose table does not rise": (path) => {
      git(path, "repack", "-q", "-a", "-d");
      for (const name of readdirSync(join(path, ".git/objects/pack"))) {
        const place = join(path, ".git/objects/pack", name);
        if (!name.endsWith(".idx")) continue;
        const bytes = readFileSync(place);
        bytes.fill(0xfe, 8, 8 + 255 * 4);
        overwrite(place, bytes);
      }
    },
    "no objects at all": (path) => rmSync(join(path, ".git/objects"), { recursive: true }),
  };
  test.each(Object.keys(damages))("G2 %s", async (name) => {
    const job = await start();
    const ids = work(job.path);
    writeFile(join(job.path, "untracked"), "u\n");
    await damages[name]?.(job.path, ids);
    const { outcome, fetched } = await filesOf(job);
    expect(outcome.incomplete.join("\n")).toContain(ids.second);
    git(fetched, "fsck", "--strict");
    git(job.salvages, "fsck", "--strict");
    expect(git(fetched, "log", "-1", "--format=%B", "salvaged")).toContain("What could not be saved:");
    const restored = await job.restored(outcome.ref);
    expect(worktree(restored.path)).toEqual(worktree(job.path));
  });

  test("G2 commits on top of a shallow history keep their content", async () => {
    const deep = new UpstreamRepository(bench.at("deep"));
    for (const name of ["1", "2", "3"]) deep.commit(name);
    const job = await start();
    git(job.path, "fetch", "-q", "--depth", "1", `file://${deep.path}`, "main");
    git(job.path, "checkout", "-q", "-b", "shallow", "FETCH_HEAD");
    writeFile(join(job.path, "mine"), "mine\n");
    git(job.path, "add", "-A");
    git(job.path, "commit", "-q", "-m", "on top");
    git(job.path, "checkout", "-q", "main");
    const outcome = await job.saved();
    expect(outcome.incomplete).toHaveLength(1);
    const fetched = job.fetched(outcome.ref);
    const rescued = parents(fetched, "salvaged").find((line) => line.startsWith("rescued refs/heads/shallow"));
    const copy = rescued?.split(" ").at(-1) ?? "";
    expect(git(fetched, "show", `${copy}:mine`)).toBe("mine");
    expect(git(fetched, "log", "--format=%s", copy)).toBe("on top\n3");
  });

  test.each([
    ["packed-refs", "garbage\n^garbage\nzzzz refs/heads/x\n"],
    ["HEAD", "garbage"],
    ["HEAD", "ref: refs/heads/../../../../etc/passwd\n"],
    ["index", "DIRC\0\0\0\x02\xff\xff\xff\xffgarbage"],
    ["logs/HEAD", "garbage\n\n0\n"],
  ])("G2 garbage in %s", async (name, content) => {
    const job = await start();
    const { second } = work(job.path);
    overwrite(join(job.path, ".git", name), content);
    const { fetched } = await filesOf(job);
    git(fetched, "merge-base", "--is-ancestor", second, "salvaged");
  });
});
