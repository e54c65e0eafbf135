import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Failure } from "../../src/domain/failure.js";
import { git, UpstreamRepository } from "../support/repositories.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 60_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let forced: string;

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("one");
  for (const name of ["same", "both", "deadbeef", "heads/nested", "v1/x"]) upstream.git("branch", name);
  upstream.git("tag", "same");
  upstream.git("branch", "forced");
  upstream.commit("two");
  upstream.git("tag", "both");
  upstream.git("tag", "-a", "-m", "x", "heavy");
  upstream.git("tag", "-a", "-m", "x", "twice", "heavy");
  upstream.git("tag", "tree", "HEAD^{tree}");
  upstream.git("tag", "-a", "-m", "x", "heavy-tree", "HEAD^{tree}");
  upstream.git("checkout", "-q", "forced");
  forced = upstream.commit("to be forced away");
  upstream.git("checkout", "-q", "main");
  mirror = await bench.mirror(upstream.path);
  upstream.git("branch", "-f", "forced", "main");
  upstream.git("update-ref", "refs/merge-requests/5/head", "main~1");
  upstream.git("update-ref", "refs/internal/x", "main");
  await bench.fetch(mirror, upstream.path, ["refs/merge-requests/5/head", "refs/internal/x"]);
});
afterAll(() => bench.close());

const resolve = (revision: string) => bench.engine.resolve(mirror, revision);
const failure = (revision: string): Promise<Failure> =>
  resolve(revision).then(
    (answer) => Promise.reject(new Error(`resolved to ${JSON.stringify(answer)}`)),
    (error: Failure) => error,
  );

describe("A2 a revision names", () => {
  test("A2 the default branch when empty, a branch, a full ref: with a head", async () => {
    const commit = upstream.id("main");
    const head = "refs/heads/main";
    for (const revision of ["", "main", "refs/heads/main"]) expect(await resolve(revision)).toEqual({ commit, head });
    expect(await resolve("heads/nested")).toMatchObject({ head: "refs/heads/heads/nested" });
    expect(await resolve("deadbeef")).toMatchObject({ head: "refs/heads/deadbeef" });
  });

  test("A2 a tag, peeled however often, a full tag, a merge request: without a head", async () => {
    const commit = upstream.id("main");
    for (const revision of ["heavy", "twice", "refs/tags/twice", "refs/tags/both"]) {
      expect(await resolve(revision)).toEqual({ commit, head: "" });
    }
    expect(await resolve("refs/merge-requests/5/head")).toEqual({ commit: upstream.id("main~1"), head: "" });
  });

  test("A2 a commit that a ref reaches, whole, abbreviated, in capitals", async () => {
    for (const commit of [upstream.id("main"), upstream.id("main~1")]) {
      for (const revision of [commit, commit.toUpperCase(), commit.slice(0, 12), commit.slice(0, 7).toUpperCase()]) {
        expect(await resolve(revision)).toEqual({ commit, head: "" });
      }
    }
  });

  test("A2 a name that is a branch and a tag: the branch if they agree, else REVISION_AMBIGUOUS", async () => {
    expect(await resolve("same")).toEqual({ commit: upstream.id("main~1"), head: "refs/heads/same" });
    const error = await failure("both");
    expect(error).toMatchObject({ reason: "REVISION_AMBIGUOUS", metadata: { revision: "both" } });
    expect(error.metadata.candidates?.split(" ")).toEqual(["refs/heads/both", "refs/tags/both"]);
    expect(await resolve("refs/heads/both")).toMatchObject({ head: "refs/heads/both" });
  });
});

describe("B3 a revision that names nothing is REVISION_NOT_FOUND:", () => {
  const missing = ["nope", "refs/heads/nope", "v1", "tree", "heavy-tree", "abc", "1".repeat(40), "1234567", "HEAD"];
  missing.push("refs/internal/x", "refs/leasehold/x", "main~1", "main^{tree}", "../main", "-x", "refs/heads/", "a..b");
  test.each(missing)("B3 %j", async (revision) => {
    expect(await failure(revision)).toMatchObject({ reason: "REVISION_NOT_FOUND", metadata: { revision } });
  });

  test("B3 a commit that was forced away, and objects that are no commits", async () => {
    expect(git(mirror, "cat-file", "-t", forced)).toBe("commit");
    const others = [upstream.id("main^{tree}"), upstream.id("main:one"), upstream.id("refs/tags/heavy")];
    for (const id of [forced, ...others]) {
      for (const revision of [id, id.slice(0, 10)]) {
        expect(await failure(revision)).toMatchObject({ reason: "REVISION_NOT_FOUND", metadata: { revision } });
      }
    }
  });
});

test("A2 an abbreviation of several commits is REVISION_AMBIGUOUS with all of them; objects of other kinds do not count", async () => {
  const many = new UpstreamRepository(bench.at("many"));
  const lines = Array.from({ length: 700 }, (_, index) =>
    [`commit refs/heads/main`, "committer A <a@b> 1 +0000", `data 4`, String(index).padStart(4, "0"), ""].join("\n"),
  );
  const { spawnSync } = await import("node:child_process");
  spawnSync("git", ["fast-import", "--quiet"], { cwd: many.path, input: lines.join("\n") });
  const ids = many.git("rev-list", "main").split("\n");
  const counts = new Map<string, string[]>();
  for (const id of ids) counts.set(id.slice(0, 4), [...(counts.get(id.slice(0, 4)) ?? []), id]);
  const [prefix, meant] = [...counts].find(([, list]) => list.length > 1) ?? [];
  const path = await bench.mirror(many.path, "many");
  const error = await bench.engine.resolve(path, prefix as string).catch((thrown: Failure) => thrown);
  expect(error).toMatchObject({ reason: "REVISION_AMBIGUOUS", metadata: { revision: prefix } });
  expect((error as Failure).metadata.candidates?.split(" ")).toEqual([...(meant ?? [])].sort());
  const [single] = [...counts].find(([, list]) => list.length === 1) ?? [];
  expect(await bench.engine.resolve(path, single as string)).toMatchObject({ head: "" });
});
