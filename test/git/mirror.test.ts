import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { MirrorProgress } from "../../src/domain/repository.js";
import { git, UpstreamRepository } from "../support/repositories.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let made = 0;
beforeAll(() => {
  bench = new Bench();
});
afterAll(() => bench.close());

function newUpstream(branch = "main"): UpstreamRepository {
  return new UpstreamRepository(bench.at(`upstream-${++made}`), branch);
}

const mirrorOf = (upstream: UpstreamRepository): Promise<string> => bench.mirror(upstream.path, `mirror-${made}`);

/** Refs as git sees them, of the upstream or of the mirror. */
function refs(path: string): string {
  return git(path, "for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", "refs/heads", "refs/tags");
}

describe("A1 a mirror is made", () => {
  test("A1 with all branches and tags, the upstream's default branch, and no trace of anything else", async () => {
    const upstream = newUpstream("trunk");
    upstream.commit("one");
    upstream.git("tag", "light");
    upstream.git("tag", "-a", "-m", "x", "heavy");
    upstream.git("tag", "tree", "HEAD^{tree}");
    upstream.git("branch", "feature/one");
    upstream.git("update-ref", "refs/pull/1/head", "HEAD");
    const mirror = await mirrorOf(upstream);
    expect(refs(mirror)).toBe(refs(upstream.path));
    expect(git(mirror, "for-each-ref", "refs/pull")).toBe("");
    expect(git(mirror, "symbolic-ref", "HEAD")).toBe("refs/heads/trunk");
    expect(git(mirror, "fsck", "--full")).toBe("");
    expect(readFileSync(join(mirror, "config"), "utf8")).not.toContain(upstream.path);
    expect(readdirSync(bench.at("staging"))).toEqual([]);
  });

  test("A1 and fetched again from this host, though there are references to trees and blobs", async () => {
    const upstream = newUpstream();
    const first = upstream.commit("one", { "f.txt": "one\n" });
    upstream.git("tag", "tree", `${first}^{tree}`);
    upstream.git("tag", "-a", "-m", "x", "blob", `${first}:f.txt`);
    const mirror = await mirrorOf(upstream);
    for (const url of [upstream.path, `file://${upstream.path}`]) {
      upstream.commit(url, { "f.txt": `${url}\n` });
      upstream.git("tag", "-f", "-a", "-m", "x", "tree", "HEAD^{tree}");
      await bench.fetch(mirror, url);
      expect(refs(mirror)).toBe(refs(upstream.path));
      expect(git(mirror, "fsck", "--full", "--no-dangling")).toBe("");
      expect(await bench.engine.checkMirror(mirror)).toBe(true);
      expect(readdirSync(mirror).filter((name) => name.startsWith("leasehold-fetch"))).toEqual([]);
    }
  });

  test("A1 with progress", async () => {
    const upstream = newUpstream();
    for (let index = 0; index < 5; index++) upstream.commit(`c${index}`);
    const seen: MirrorProgress[] = [];
    const request = { path: bench.at("progress.git"), staging: bench.at("staging"), url: `file://${upstream.path}` };
    await bench.engine.cloneMirror({ ...request, deadlineMs: 30_000, onProgress: (progress) => seen.push(progress) });
    expect(seen.at(-1)?.totalObjects).toBe(15);
  });

  test("A1 in place of what is there, and what a killed attempt left in staging goes", async () => {
    const upstream = newUpstream();
    upstream.commit("one");
    const path = bench.at(`mirror-${made}.git`);
    mkdirSync(join(path, "objects"), { recursive: true });
    mkdirSync(bench.at("staging", "leftover", "objects"), { recursive: true });
    await mirrorOf(upstream);
    expect(refs(path)).toBe(refs(upstream.path));
    expect(readdirSync(bench.at("staging"))).toEqual([]);
  });

  test("A1 of an empty repository, which may grow later", async () => {
    const upstream = newUpstream("begin");
    const mirror = await mirrorOf(upstream);
    expect(await bench.engine.inspectMirror(mirror)).toMatchObject({ defaultBranch: "" });
    expect(await bench.engine.resolve(mirror, "")).toEqual({ commit: "", head: "refs/heads/begin" });
    const commit = upstream.commit("one");
    expect(await bench.fetch(mirror, upstream.path)).toMatchObject({ defaultBranch: "begin" });
    expect(await bench.engine.resolve(mirror, "")).toEqual({ commit, head: "refs/heads/begin" });
  });

  test("A1 of a repository whose HEAD is detached outside all branches", async () => {
    const upstream = newUpstream();
    upstream.commit("one");
    upstream.git("checkout", "-q", "--detach");
    const commit = upstream.commit("two");
    const mirror = await mirrorOf(upstream);
    expect(await bench.engine.resolve(mirror, "")).toEqual({ commit, head: "" });
  });

  test("A1 of a repository whose HEAD names no branch: main is taken", async () => {
    const upstream = newUpstream();
    const commit = upstream.commit("one");
    upstream.git("branch", "other");
    upstream.git("symbolic-ref", "HEAD", "refs/heads/gone");
    const mirror = await mirrorOf(upstream);
    expect(await bench.engine.resolve(mirror, "")).toEqual({ commit, head: "refs/heads/main" });
  });
});

describe("A1 a fetch", () => {
  test("A1 follows new, moved, forced, renamed and removed refs, and leaves refs/leasehold alone", async () => {
    const upstream = newUpstream();
    const first = upstream.commit("one");
    for (const name of ["a", "gone", "forced"]) upstream.git("branch", name);
    upstream.git("tag", "-a", "-m", "x", "t1");
    upstream.git("tag", "t2");
    const mirror = await mirrorOf(upstream);
    git(mirror, "update-ref", "refs/leasehold/kept", first);
    const before = await bench.engine.inspectMirror(mirror);
    expect(await bench.fetch(mirror, upstream.path)).toEqual(before);

    upstream.git("branch", "-D", "a", "gone");
    upstream.git("branch", "a/b");
    upstream.git("tag", "-d", "t2");
    upstream.git("tag", "t2/x");
    upstream.git("tag", "-f", "-a", "-m", "moved", "t1");
    upstream.commit("two");
    upstream.git("checkout", "-q", "--orphan", "fresh");
    upstream.commit("forced");
    upstream.git("branch", "-f", "forced");
    upstream.git("checkout", "-q", "main");
    const after = await bench.fetch(mirror, upstream.path);
    expect(after.digest).not.toBe(before?.digest);
    expect(refs(mirror)).toBe(refs(upstream.path));
    expect(git(mirror, "rev-parse", "refs/leasehold/kept")).toBe(first);
    expect(git(mirror, "fsck", "--full", "--no-dangling")).toBe("");
    expect(await bench.engine.inspectMirror(mirror)).toEqual(after);

    upstream.git("branch", "-D", "a/b");
    upstream.git("branch", "a");
    await bench.fetch(mirror, upstream.path);
    expect(refs(mirror)).toBe(refs(upstream.path));
  });

  test("A1 follows a change of the default branch", async () => {
    const upstream = newUpstream("old");
    upstream.commit("one");
    const mirror = await mirrorOf(upstream);
    upstream.git("branch", "-m", "old", "new");
    expect(await bench.fetch(mirror, upstream.path)).toMatchObject({ defaultBranch: "new" });
    expect(await bench.engine.resolve(mirror, "")).toMatchObject({ head: "refs/heads/new" });
  });

  test("A1 gets extra refs that are asked for, ignores missing ones, and keeps them", async () => {
    const upstream = newUpstream();
    upstream.commit("one");
    const mirror = await mirrorOf(upstream);
    upstream.git("checkout", "-q", "--detach");
    const commit = upstream.commit("proposed");
    upstream.git("update-ref", "refs/pull/3/head", commit);
    upstream.git("checkout", "-q", "main");
    await bench.fetch(mirror, upstream.path, ["refs/pull/3/head", "refs/pull/4/head", "refs/../x"]);
    expect(await bench.engine.resolve(mirror, "refs/pull/3/head")).toEqual({ commit, head: "" });
    await bench.fetch(mirror, upstream.path);
    expect(await bench.engine.resolve(mirror, commit)).toEqual({ commit, head: "" });
  });

  test("A1 many at once on one mirror do no harm", async () => {
    const upstream = newUpstream();
    upstream.commit("one");
    const mirror = await mirrorOf(upstream);
    const fetches = [];
    for (let index = 0; index < 6; index++) {
      upstream.commit(`c${index}`);
      fetches.push(bench.fetch(mirror, upstream.path));
    }
    await Promise.all(fetches);
    expect(refs(mirror)).toBe(refs(upstream.path));
    expect(git(mirror, "fsck", "--full")).toBe("");
  });

  test("A1 removes what a killed fetch left", async () => {
    const upstream = newUpstream();
    upstream.commit("one");
    const mirror = await mirrorOf(upstream);
    writeFileSync(join(mirror, "objects/pack/pack_git2_abcdef"), "half");
    await bench.fetch(mirror, upstream.path);
    expect(existsSync(join(mirror, "objects/pack/pack_git2_abcdef"))).toBe(false);
  });
});

describe("G12 a mirror that is not whole is noticed:", () => {
  const damage: Record<string, (mirror: string) => void> = {
    "it is absent": (mirror) => rmSync(mirror, { recursive: true }),
    "it is half made": (mirror) => rmSync(join(mirror, "HEAD")),
    "a pack is gone": (mirror) => rmSync(pack(mirror, ".pack")),
    "an index is gone": (mirror) => rmSync(pack(mirror, ".idx")),
    "a pack is cut off": (mirror) => truncateSync(pack(mirror, ".pack"), statSync(pack(mirror, ".pack")).size - 1),
    "a pack is overwritten": (mirror) => {
      const path = pack(mirror, ".pack");
      const bytes = readFileSync(path);
      rmSync(path);
      writeFileSync(path, bytes.fill(0, 12, bytes.length - 20));
    },
    "a ref names what is not there": (mirror) => {
      writeFileSync(join(mirror, "packed-refs"), `${"1".repeat(40)} refs/heads/main\n`);
    },
  };
  const pack = (mirror: string, suffix: string): string => {
    const directory = join(mirror, "objects/pack");
    return join(directory, readdirSync(directory).find((name) => name.endsWith(suffix)) ?? "none");
  };
  test.each(Object.keys(damage))("G12 %s", async (name) => {
    const upstream = newUpstream();
    upstream.commit("one");
    const mirror = await mirrorOf(upstream);
    expect(await bench.engine.inspectMirror(mirror)).toBeDefined();
    damage[name]?.(mirror);
    expect(await bench.engine.inspectMirror(mirror)).toBeUndefined();
    // The same call again replaces it, and no worker remembers the damage.
    await mirrorOf(upstream);
    expect(await bench.engine.inspectMirror(mirror)).toMatchObject({ defaultBranch: "main" });
    expect(await bench.engine.resolve(mirror, "main")).toMatchObject({ commit: upstream.id("main") });
  });
});
