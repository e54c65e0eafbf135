/** What a holder made large takes neither the server's disk nor its memory, nor a worker for long. */
import { closeSync, ftruncateSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { UpstreamRepository } from "../support/repositories.js";
import { canMount, SmallDisk } from "../support/small-disk.js";
import { KeptBench } from "./kept-site.js";
import { committed, Job } from "./salvage-support.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let bench: Bench;
let kept: KeptBench;
beforeAll(async () => {
  bench = new Bench();
  kept = await new KeptBench().start();
});
afterAll(async () => {
  await kept.close();
  await bench.close();
});

/** Makes a file that takes no room. */
function sparse(path: string, megabytes: number, begin = ""): void {
  mkdirSync(dirname(path), { recursive: true });
  const file = openSync(path, "w");
  writeSync(file, begin);
  ftruncateSync(file, megabytes * 1024 ** 2);
  closeSync(file);
}

test.skipIf(!canMount())("A5 files that a checkout may have converted are copied one at a time", async () => {
  const upstream = new UpstreamRepository(bench.at("upstream"));
  const names = Array.from({ length: 6 }, (_, number) => `${number}.txt`);
  upstream.commit("base", {
    ".gitattributes": "*.txt eol=crlf\n",
    ...Object.fromEntries(names.map((name) => [name, name])),
  });
  const mirror = await bench.mirror(upstream.path);
  const disk = new SmallDisk(bench.at("small"), "40m");
  try {
    const job = await Job.start(bench, mirror, upstream.path, "", join(disk.path, "r.git"));
    for (const name of names) sparse(join(job.path, name), 16, name);
    const outcome = await job.saved();
    expect(outcome).toMatchObject({ files: 6 });
    expect(committed(job.fetched(outcome.ref), "salvaged")["0.txt"]).toHaveLength("100644 ".length + 16 * 1024 ** 2);
  } finally {
    await disk.unmount();
  }
});

test("A7 a workspace with more manifests than are looked at has no fingerprint", async () => {
  const workspace = await kept.workspace();
  const request = { ...workspace.keepRequest([]), path: workspace.path };
  expect(await kept.bench.engine.workspaceFingerprint(request)).toBe(workspace.fingerprint);
  for (let number = 0; number < 5_001; number++) sparse(join(workspace.path, `d${number}/package.json`), 0);
  expect(await kept.bench.engine.workspaceFingerprint(request)).toBe("");
});

test("A7 a workspace with larger manifests than are looked at has no fingerprint", async () => {
  const workspace = await kept.workspace();
  const request = { ...workspace.keepRequest([]), path: workspace.path };
  for (let number = 0; number < 10; number++) sparse(join(workspace.path, `d${number}/package.json`), 60);
  expect(await kept.bench.engine.workspaceFingerprint(request)).toBe("");
});

test("A5 references that are made large are not read whole", async () => {
  const upstream = new UpstreamRepository(bench.at("referred"));
  upstream.commit("base", { "a.txt": "a\n" });
  const job = await Job.start(bench, await bench.mirror(upstream.path, "referred-mirror"), upstream.path);
  for (let number = 0; number < 1_000; number++) sparse(join(job.path, `.git/refs/heads/x${number}`), 256);
  const begin = performance.now();
  expect(await job.salvage()).toEqual({ kind: "none" });
  expect(performance.now() - begin).toBeLessThan(20_000);
});

test("A5 a .git with more to be read than is looked at is kept as it is", async () => {
  const upstream = new UpstreamRepository(bench.at("logged"));
  upstream.commit("base", { "a.txt": "a\n" });
  const job = await Job.start(bench, await bench.mirror(upstream.path, "logged-mirror"), upstream.path);
  for (let number = 0; number < 10; number++) sparse(join(job.path, `.git/logs/refs/heads/x${number}`), 128);
  const begin = performance.now();
  expect(await job.salvage()).toMatchObject({ kind: "refused" });
  expect(performance.now() - begin).toBeLessThan(20_000);
});
