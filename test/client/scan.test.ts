/** A scan records what differs from the last one, once, for the agent that scanned first, and touches nothing that git shows. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import type { Change } from "../../gen/leasehold/v1/session_pb.js";
import { ChangeKind } from "../../src/client/index.js";
import { type RecordBatch, scan } from "../../src/client/scan.js";
import { git, Upstream } from "../support/upstream.js";

const roots: string[] = [];
let directory: string;
let baseCommit: string;
let upstream: Upstream;
let recorded: { agent: string; requestId: string; change: Parameters<RecordBatch>[0]["changes"][number] }[];
let known: Set<string>;

beforeEach(async () => {
  const root = await realpath(await mkdtemp(join(tmpdir(), "leasehold-scan-")));
  roots.push(root);
  upstream = await Upstream.make(root, "demo", { "lines.txt": lines(50), "gone.txt": "going\n" });
  directory = join(root, "work");
  await git(root, "clone", "--quiet", upstream.url, directory);
  await git(directory, "config", "user.name", "Ada");
  await git(directory, "config", "user.email", "ada@example.com");
  baseCommit = await git(directory, "rev-parse", "HEAD");
  recorded = [];
  known = new Set();
});

afterAll(async () => {
  for (const root of roots) await rm(root, { recursive: true, force: true });
});

const lines = (count: number) => Array.from({ length: count }, (_, index) => `line ${index}\n`).join("");

/** What the server does: a request id that it knows is answered and not recorded again. */
const record: RecordBatch = async ({ agent, requestId, changes }) => {
  expect(changes.length).toBeLessThanOrEqual(100);
  if (!known.has(requestId)) for (const change of changes) recorded.push({ agent, requestId, change });
  known.add(requestId);
  return changes as unknown as Change[];
};

const scanFor = (agent: string, using = record) => scan({ sessionId: "n1", directory, baseCommit }, { agent }, using);
const write = (path: string, content: string | Buffer) => writeFileSync(join(directory, path), content);
const told = () => recorded.map(({ change }) => [ChangeKind[change.kind], change.path]);

test("E3 every kind of difference is told once, with its patch, and git shows nothing of it", async () => {
  write("added.txt", "new\n");
  write("README.md", "# changed\n");
  write("ignored.log", "not told\n");
  rmSync(join(directory, "gone.txt"));
  renameSync(join(directory, "lines.txt"), join(directory, "src/moved.txt"));
  writeFileSync(join(directory, "src/moved.txt"), `${lines(50)}more\n`);
  const before = await git(directory, "status", "--porcelain=v2", "--branch", "--ignored");
  await scanFor("ada");
  expect(told()).toEqual([
    ["MODIFIED", "README.md"],
    ["ADDED", "added.txt"],
    ["DELETED", "gone.txt"],
    ["RENAMED", "src/moved.txt"],
  ]);
  expect(recorded[3]?.change).toMatchObject({ previousPath: "lines.txt", baseCommit, patchTruncated: false });
  expect(recorded[1]?.change.patch).toContain("+++ b/added.txt\n@@ -0,0 +1 @@\n+new\n");
  expect(await git(directory, "status", "--porcelain=v2", "--branch", "--ignored")).toBe(before);
  await git(directory, "fsck", "--strict");
  await scanFor("bob");
  expect(recorded).toHaveLength(4);
  // what is only staged, and changed back, is no difference of files
  await git(directory, "add", "--all");
  await scanFor("bob");
  expect(recorded).toHaveLength(4);
  write("README.md", "# demo\n");
  await scanFor("bob");
  expect(recorded[4]).toMatchObject({ agent: "bob", change: { kind: ChangeKind.MODIFIED, path: "README.md" } });
});

test("E3 patches are whole ones that apply, or say that they are not: large, binary, not text", async () => {
  write("large.txt", lines(100_000));
  write("binary.bin", Buffer.from([0, 1, 2, 255, 0]));
  write("latin.txt", Buffer.from("caf\xe9\n", "latin1"));
  write("late-nul.txt", Buffer.concat([Buffer.from(`${"x".repeat(79)}\n`.repeat(200)), Buffer.from("a\0b\n")]));
  write("tricky.txt", "diff --git a/x b/x\n--- a/x\n");
  write("README.md", "# other\ndiff --git a/README.md b/README.md\n");
  write("empty.txt", "");
  symlinkSync("nowhere", join(directory, "link"));
  rmSync(join(directory, "gone.txt"));
  symlinkSync("README.md", join(directory, "gone.txt"));
  await scanFor("ada");
  const of = (path: string) => recorded.find(({ change }) => change.path === path)?.change;
  expect(recorded).toHaveLength(9);
  for (const path of ["large.txt", "binary.bin", "latin.txt", "late-nul.txt"]) {
    expect(of(path), path).toMatchObject({ patchTruncated: true });
  }
  expect(Buffer.byteLength(of("large.txt")?.patch ?? "")).toBe(256 * 1024);
  expect(recorded.map(({ change }) => change.patch).join("")).not.toContain("\0");
  const whole = ["tricky.txt", "README.md", "empty.txt", "link", "gone.txt"];
  for (const path of whole) expect(of(path), path).toMatchObject({ patchTruncated: false });
  const other = `${directory}-other`;
  await git(directory, "clone", "--quiet", upstream.url, other);
  for (const path of whole) execFileSync("git", ["apply", "-"], { cwd: other, input: of(path)?.patch ?? "" });
  expect(await git(other, "hash-object", "tricky.txt", "README.md", "empty.txt")).toBe(
    await git(directory, "hash-object", "tricky.txt", "README.md", "empty.txt"),
  );
});

test("E3 names that are no plain text are told as git quotes them", async () => {
  write("a\nb.txt", "1\n");
  writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0x63, 0xe9])]), "2\n");
  write("é ü.txt", "3\n");
  await scanFor("ada");
  expect(recorded.map(({ change }) => change.path)).toEqual(['"a\\nb.txt"', '"c\\351"', "é ü.txt"]);
});

test("E3 commits are told once, with their parent: those of the agent, pushed ones too, and none that was fetched", async () => {
  const base = baseCommit;
  write("one.txt", "1\n");
  await git(directory, "add", "--all");
  await git(directory, "commit", "--quiet", "--message", "One");
  const one = await git(directory, "rev-parse", "HEAD");
  await git(directory, "push", "--quiet", "origin", "HEAD");
  await scanFor("ada");
  const commits = () =>
    recorded.flatMap(({ change }) => (change.commit === "" ? [] : [[change.baseCommit, change.commit]]));
  expect(commits()).toEqual([[base, one]]);
  expect(recorded.find(({ change }) => change.commit === one)?.change.summary).toBe("One");
  // another one pushes, and the agent merges
  await upstream.git("pull", "--quiet", "origin", "main");
  await upstream.commit({ "theirs.txt": "2\n" }, "Theirs");
  write("own.txt", "3\n");
  await git(directory, "add", "--all");
  await git(directory, "commit", "--quiet", "--message", "Own");
  const own = await git(directory, "rev-parse", "HEAD");
  await git(directory, "pull", "--quiet", "--no-rebase", "origin", "main");
  await git(directory, "push", "--quiet", "origin", "HEAD");
  const merge = await git(directory, "rev-parse", "HEAD");
  await scanFor("ada");
  expect(commits().slice(1)).toEqual([
    [one, own],
    [own, merge],
  ]);
  // back to where it was, and forth again: nothing new
  await git(directory, "checkout", "--quiet", one);
  await scanFor("bob");
  await git(directory, "checkout", "--quiet", "main");
  await scanFor("bob");
  expect(commits()).toHaveLength(3);
});

test("E3 a history that is cut off stops no scan: what is told then is where HEAD is", async () => {
  write("one.txt", "1\n");
  await scanFor("ada");
  for (const message of ["One", "Two", "Three"])
    await git(directory, "commit", "--allow-empty", "--quiet", "-m", message);
  const lost = await git(directory, "rev-parse", "HEAD~");
  rmSync(join(directory, ".git/objects", lost.slice(0, 2), lost.slice(2)), { force: true });
  await scanFor("ada");
  const head = await git(directory, "rev-parse", "HEAD");
  expect(recorded.slice(1).map(({ change }) => change)).toMatchObject([
    { kind: ChangeKind.COMMITTED, baseCommit, commit: head, summary: "" },
  ]);
  await scanFor("ada");
  expect(recorded).toHaveLength(2);
});

test("E3 two agents scan at once while both write: each difference is recorded exactly once", async () => {
  const files = 40;
  const rounds = 6;
  const work = async (agent: string) => {
    for (let round = 0; round < rounds; round++) {
      for (let file = 0; file < files; file++) {
        // whole at once: a file that is seen half written is another difference
        write(`.git/${agent}`, `${agent}\n`);
        renameSync(join(directory, ".git", agent), join(directory, `${agent}-${round}-${file}.txt`));
      }
      await scanFor(agent);
    }
  };
  await Promise.all([work("ada"), work("bob"), work("cyd")]);
  await scanFor("ada");
  expect(new Set(told().map(([kind]) => kind))).toEqual(new Set(["ADDED"]));
  const paths = recorded.map(({ change }) => change.path).sort();
  expect(new Set(paths).size).toBe(paths.length);
  expect(paths).toHaveLength(3 * files * rounds);
}, 60_000);

test("E3 a recording that fails is carried out by the next scan, whoever's it is, and never twice", async () => {
  for (let file = 0; file < 250; file++) write(`file-${String(file).padStart(3, "0")}.txt`, "1\n");
  let calls = 0;
  // the second batch is heard, but not answered; the third never arrives
  const breaking: RecordBatch = async (batch) => {
    if (++calls > 2) throw new Error("the server is gone");
    const answer = await record(batch);
    if (calls === 2) throw new Error("the answer is lost");
    return answer;
  };
  await expect(scanFor("ada", breaking)).rejects.toThrow("the answer is lost");
  await expect(scanFor("ada", breaking)).rejects.toThrow("the server is gone");
  expect(recorded).toHaveLength(200);
  write("bob.txt", "2\n");
  await scanFor("bob");
  expect(recorded).toHaveLength(251);
  expect(recorded.filter(({ agent }) => agent === "bob").map(({ change }) => change.path)).toEqual(["bob.txt"]);
  expect(new Set(recorded.map(({ change }) => change.path)).size).toBe(251);
  const plans = join(directory, ".git/leasehold/n1/plans");
  expect(readdirSync(plans)).toEqual([]);
});

test("E3 a scan gets on with a broken index, objects that were removed, and files that cannot be read", async () => {
  write("committed.txt", "1\n");
  await git(directory, "add", "--all");
  await git(directory, "commit", "--quiet", "--message", "To be lost");
  await scanFor("ada");
  await git(directory, "reset", "--quiet", "--hard", "HEAD~");
  await git(directory, "reflog", "expire", "--expire=now", "--all");
  await git(directory, "gc", "--quiet", "--prune=now");
  write("README.md", "# also\n");
  await scanFor("ada");
  expect(told().slice(2)).toEqual([
    ["MODIFIED", "README.md"],
    ["DELETED", "committed.txt"],
  ]);
  expect(recorded[3]?.change.patch === "" ? recorded[3].change.patchTruncated : true).toBe(true);
  mkdirSync(join(directory, "nested"));
  await git(join(directory, "nested"), "init", "--quiet");
  write("after.txt", "2\n");
  const { problems } = await scanFor("ada");
  expect(problems.join()).toContain("nested");
  expect(told().at(-1)).toEqual(["ADDED", "after.txt"]);
  write(".git/index", "broken");
  write("last.txt", "3\n");
  await scan({ sessionId: "n2", directory, baseCommit }, { agent: "ada" }, record);
  expect(told().slice(-3)).toEqual([
    ["MODIFIED", "README.md"],
    ["ADDED", "after.txt"],
    ["ADDED", "last.txt"],
  ]);
  // pipes, which nobody writes to, where git has files
  for (const path of [".git/index", ".git/logs/HEAD", ".git/info/exclude"]) {
    rmSync(join(directory, path));
    execFileSync("mkfifo", [join(directory, path)]);
  }
  await scan({ sessionId: "n3", directory, baseCommit }, { agent: "ada" }, record);
  expect(told().at(-1)).toEqual(["ADDED", "last.txt"]);
});
