/** What plain git says of a split index is what is read of it. */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { IndexFile } from "../../src/git/worker/index/index-file.js";
import { joinSplitIndex, sharedIndexName } from "../../src/git/worker/index/split-index.js";
import { git, TemporaryDirectory, UpstreamRepository, writeFile } from "../support/repositories.js";

const directory = new TemporaryDirectory();
let path: string;
afterAll(() => directory.remove());

beforeAll(() => {
  path = directory.at("repository");
  const repository = new UpstreamRepository(path);
  const names = Array.from({ length: 300 }, (_, n) => [`d${n % 7}/f${n}`, `${n}\n`] as const);
  repository.commit("base", Object.fromEntries(names));
  git(path, "reset", "-q", "--hard");
  git(path, "config", "splitIndex.maxPercentChange", "100");
  git(path, "update-index", "--split-index");
});

const own = () => new IndexFile(readFileSync(join(path, ".git/index")));
const sharedBytes = () => readFileSync(join(path, ".git", sharedIndexName(own()) ?? "no shared index"));

function entries(index: IndexFile): string[] {
  return index.paths.map(
    (name, at) => `${index.mode(at).toString(8).padStart(6, "0")} ${index.id(at)} ${index.stage(at)}\t${name}`,
  );
}

function expectAsGit(): void {
  expect(entries(joinSplitIndex(own(), new IndexFile(sharedBytes())))).toEqual(
    git(path, "ls-files", "--stage").trimEnd().split("\n"),
  );
}

it("G2 entries that were replaced, removed and added, also across many words of its bitmaps", () => {
  expectAsGit();
  for (let n = 0; n < 300; n += 3) writeFile(join(path, `d${n % 7}/f${n}`), `changed ${n}\n`);
  git(path, "add", "-A");
  expectAsGit();
  for (let n = 64; n < 200; n++) rmSync(join(path, `d${n % 7}/f${n}`));
  git(path, "add", "-A");
  writeFile(join(path, "a-new"), "new\n");
  writeFile(join(path, "z/new"), "new\n");
  git(path, "add", "-A");
  writeFile(join(path, "promised"), "later\n");
  git(path, "add", "--intent-to-add", "promised");
  expect(own().paths.length).toBeGreaterThan(10);
  expect(own().paths).toContain("");
  expectAsGit();
  const joined = joinSplitIndex(own(), new IndexFile(sharedBytes()));
  expect(joined.isIntent(joined.paths.indexOf("promised"))).toBe(true);
});

it("G2 one that is cut off, garbled, or of another file throws, and does not hang", () => {
  const bytes = readFileSync(join(path, ".git/index"));
  const shared = new IndexFile(sharedBytes());
  const link = bytes.indexOf("link");
  expect(link).toBeGreaterThan(0);
  let thrown = 0;
  for (let at = link + 28; at < bytes.length - 20; at++) {
    const garbled = Buffer.from(bytes);
    garbled[at] = (garbled[at] as number) ^ 0xff;
    try {
      joinSplitIndex(new IndexFile(garbled), shared);
    } catch {
      thrown += 1;
    }
  }
  expect(thrown).toBeGreaterThan(20);
  expect(() => joinSplitIndex(own(), IndexFile.empty())).toThrow("bitmap");
  expect(readdirSync(join(path, ".git")).some((name) => name.startsWith("sharedindex."))).toBe(true);
});
