/** Cleaning that uses what salvage has seen: as good as cleaning that looks itself, and verification looks anyway. */
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { CheckoutTarget } from "../../src/ports/git-engine.js";
import { UpstreamRepository, writeFile } from "../support/repositories.js";
import { Bench, Site, state } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;

beforeAll(async () => {
  // one worker: what it has seen is its own
  bench = new Bench({ lanes: { local: 1 } });
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", {
    ".gitignore": "build/\n",
    "a.txt": "aaa\n",
    "dir/c.txt": "ccc\n",
    "dir/deep/d.txt": "d\n",
  });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

/** A workspace whose holder did `mischief`; salvaged, and after `meanwhile` cleaned. */
async function cleaned(mischief: (path: string) => void, meanwhile: (path: string) => void = () => {}) {
  const site = new Site(bench, mirror, upstream.path, `s${++made}`);
  const target: CheckoutTarget = await site.prepare();
  mischief(site.path);
  const names = { repository: "r", workspaceId: "w", leaseId: "l", holder: "h", caller: "c", reason: "RELEASED" };
  const { trustedIndex, path } = site;
  const files = { mirror, candidates: [path], trustedIndex, from: target.commit, salvages: bench.at("salvages.git") };
  const report = { salvageId: `s${made}.1`, ...names };
  const limits = { fileBytes: 1e8, totalBytes: 1e8 };
  await bench.engine.salvageWork({ ...files, report, limits, salvageIgnored: [] });
  meanwhile(path);
  const outcome = await site.clean(target.commit, target, { comparedBefore: true });
  return { site, target, outcome, verification: await site.verify(target) };
}

const mischief = (path: string): void => {
  appendFileSync(join(path, "a.txt"), "more\n");
  writeFile(join(path, "dir/new"), "new\n");
  writeFile(join(path, "build/o"), "o\n");
  rmSync(join(path, "dir/c.txt"));
  chmodSync(join(path, "dir/deep"), 0);
};

test("A5 what salvage has seen is cleaned", async () => {
  const { site, target, outcome, verification } = await cleaned(mischief);
  expect(outcome).toEqual({ kind: "clean", recreated: false });
  expect(verification).toMatchObject({ kind: "pristine" });
  expect(state(site.path)).toEqual(state(site.reference(target)));
});

test("A5 what was changed after salvage looked is found by verification, and gone when it is made from scratch", async () => {
  const { site, target, verification } = await cleaned(mischief, (path) => {
    writeFileSync(join(path, "dir/deep/d.txt"), "x");
    writeFileSync(join(path, "dir/late"), "x");
  });
  const findings = ["dir/deep/d.txt: has been touched", "dir/late: is not of the commit"];
  expect(verification).toMatchObject({ findings: expect.arrayContaining(findings) });
  await site.clean(target.commit, target, { fromScratch: true });
  expect(await site.verify(target, { deep: true })).toMatchObject({ kind: "pristine" });
});

test("A5 a directory that became a symlink after salvage looked: nothing outside is written or changed", async () => {
  const canary = bench.at("canary");
  mkdirSync(canary);
  writeFileSync(join(canary, "c.txt"), "canary\n");
  chmodSync(canary, 0o700);
  const { outcome, verification } = await cleaned(mischief, (path) => {
    rmSync(join(path, "dir"), { recursive: true });
    symlinkSync(canary, join(path, "dir"));
  });
  expect(outcome).toMatchObject({ kind: "clean" });
  expect(verification).toMatchObject({ kind: "pristine" });
  expect(readFileSync(join(canary, "c.txt"), "utf8")).toBe("canary\n");
  expect(statSync(canary).mode & 0o777).toBe(0o700);
});
