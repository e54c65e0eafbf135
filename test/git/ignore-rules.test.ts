import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { afterAll, expect, test, vi } from "vitest";
import { IgnoreRules } from "../../src/git/worker/salvage/ignore-rules.js";
import { git, TemporaryDirectory } from "../support/repositories.js";

vi.setConfig({ testTimeout: 60_000 });

const directory = new TemporaryDirectory();
afterAll(() => directory.remove());

/** Paths of `paths` that git itself calls ignored; a directory ends with a slash. */
function ignoredByGit(path: string, paths: readonly string[]): string[] {
  const env = { PATH: process.env.PATH, HOME: "/nonexistent", GIT_CONFIG_NOSYSTEM: "1" };
  const args = ["-c", "core.quotePath=false", "check-ignore", "--no-index", "-z", "--stdin"];
  const { stdout } = spawnSync("git", args, { cwd: path, env, input: paths.join("\0"), encoding: "utf8" });
  return stdout.split("\0").filter(Boolean);
}

/** Deterministic, so that a failure can be seen again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state / 2147483648;
  };
}

test("A5 rules mean what they mean to git, over made-up rules and paths", () => {
  const next = random(7);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T;
  const names = ["a", "b", "ab", "a.log", "b.c", "x y", "-", "é", "[a]", "!a", "#b", "a\\b", "keep.log"];
  const pieces = [...names, "*", "**", "?", "*.log", "a*", "[ab]", "[!a]*", "[a-c]", "[^b]", "a**", "[[:alpha:]]*"];
  pieces.push("\\!a", "\\#b", "\\*", "[]a]", "[a", "a\\", "[\\]]", "???");
  const rule = (): string => {
    const body = Array.from({ length: 1 + Math.floor(next() * 3) }, () => pick(pieces)).join("/");
    return `${pick(["", "", "", "!"])}${pick(["", "", "/"])}${body}${pick(["", "", "/", "  ", "\r"])}`;
  };
  let ignored = 0;
  for (let round = 0; round < 40; round++) {
    const path = directory.at(`r${round}`);
    mkdirSync(path);
    git(path, "init", "-q");
    const rules = new IgnoreRules();
    for (const where of ["", "a", "a/b", "ab"]) {
      const text = `${Array.from({ length: 4 }, rule).join("\n")}\n`;
      mkdirSync(`${path}/${where}`, { recursive: true });
      writeFileSync(`${path}/${where}/.gitignore`, text);
      rules.add(where, Buffer.from(text).toString("latin1"));
    }
    const files = Array.from({ length: 80 }, () =>
      Array.from({ length: 1 + Math.floor(next() * 4) }, () => pick(names)).join("/"),
    );
    // The directories must be there: git asks the disk whether a path is one.
    for (const file of files) mkdirSync(`${path}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
    const asked = [...new Set(files)].filter((file) => !files.some((other) => other.startsWith(`${file}/`)));
    const plain = asked.filter((file) => !["a", "ab", "a/b"].includes(file));
    const byGit = new Set(ignoredByGit(path, plain));
    for (const file of plain) {
      const context = `${file} in round ${round}`;
      expect([context, rules.ignores(Buffer.from(file).toString("latin1"), false)]).toEqual([context, byGit.has(file)]);
    }
    ignored += byGit.size;
  }
  expect(ignored).toBeGreaterThan(300);
});

test("A5 a rule below takes back what a rule above ignores, but not below an ignored directory", () => {
  const rules = new IgnoreRules();
  rules.add("", "*.log\nbuild/\n");
  rules.add("sub", "!keep.log\n");
  rules.add("build", "!keep.log\n");
  expect(rules.ignores("x.log", false)).toBe(true);
  expect(rules.ignores("sub/keep.log", false)).toBe(false);
  expect(rules.ignores("sub/other.log", false)).toBe(true);
  expect(rules.ignores("build/keep.log", false)).toBe(true);
  expect(rules.ignores("build", false)).toBe(false);
});

test("A5 globs mean what they mean to git, with many stars and many ways to match", () => {
  const next = random(11);
  const word = (letters: string, most: number): string =>
    Array.from({ length: 1 + Math.floor(next() * most) }, () => letters[Math.floor(next() * letters.length)]).join("");
  const path = directory.at("globs");
  mkdirSync(path);
  git(path, "init", "-q");
  let ignored = 0;
  for (let round = 0; round < 150; round++) {
    const rule = `${["", "/"][round % 2]}${word("aab**?/", 9)}`.replace(/\/\/+/g, "/");
    writeFileSync(`${path}/.gitignore`, `${rule}\n`);
    const rules = new IgnoreRules();
    rules.add("", rule);
    const files = [...new Set(Array.from({ length: 60 }, () => word("aaab/", 9).replace(/\/+/g, "/")))].filter(
      (file) => !file.startsWith("/") && !file.endsWith("/"),
    );
    const byGit = new Set(ignoredByGit(path, files));
    for (const file of files) expect([rule, file, rules.ignores(file, false)]).toEqual([rule, file, byGit.has(file)]);
    ignored += byGit.size;
  }
  expect(ignored).toBeGreaterThan(500);
});

test.each([
  ["many stars", "*a*a*a*a*a*a*a*b", "a".repeat(250)],
  ["many stars in a path", "/*a*a*a*/*a*a*a*/*a*a*a*b", `${"a".repeat(250)}/${"a".repeat(250)}/${"a".repeat(250)}`],
  ["many directories", "**/a/**/a/**/a/**/a/**/a/**/b", "a/".repeat(1_500)],
  ["many spaces", `${" ".repeat(1_000_000)}x`, "a"],
  ["many spaces and stars", `${"* ".repeat(500_000)}x`, "a ".repeat(100)],
  ["many backslashes", `${"\\".repeat(1_000_000)} `, "a"],
])("A5 a rule of %s takes no time worth mentioning", (_what, rule, path) => {
  const begin = performance.now();
  const rules = new IgnoreRules();
  rules.add("", rule);
  for (let times = 0; times < 3; times++) expect(rules.ignores(`${times}${path}`, false)).toBe(false);
  expect(performance.now() - begin).toBeLessThan(2_000);
});
