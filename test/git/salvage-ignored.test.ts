import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { UpstreamRepository, writeFile } from "../support/repositories.js";
import { committed, Job } from "./salvage-support.js";
import { Bench } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", { ".gitignore": "*.log\n/build/\nnode_modules/\n.env*\n", "a.txt": "aaa\n" });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

const ignored = {
  ".env": "1",
  "sub/.env.local": "2",
  "build/report/a.xml": "3",
  "build/out.bin": "4",
  "node_modules/x/.env": "5",
  "top.log": "6",
};

test.each([
  { globs: ["/.env"], saved: [".env"] },
  { globs: [".env*"], saved: [".env", "node_modules/x/.env", "sub/.env.local"] },
  { globs: ["/build/report/"], saved: ["build/report/a.xml"] },
  { globs: ["build/**/*.xml", "/top.log"], saved: ["build/report/a.xml", "top.log"] },
  { globs: ["/build"], saved: ["build/out.bin", "build/report/a.xml"] },
  { globs: ["**/x/.env"], saved: ["node_modules/x/.env"] },
  { globs: ["/*.log"], saved: ["top.log"] },
  { globs: ["/nothing"], saved: [] },
  { globs: [], saved: [] },
])("G2 of ignored files those that salvage_ignored $globs names are saved, and no others", async ({ globs, saved }) => {
  const job = await Job.start(bench, mirror, upstream.path);
  for (const [path, content] of Object.entries(ignored)) writeFile(join(job.path, path), content);
  const outcome = await job.salvage({ salvageIgnored: globs });
  if (outcome.kind !== "saved") {
    expect({ outcome, saved }).toEqual({ outcome: { kind: "none" }, saved: [] });
    return;
  }
  const files = Object.keys(committed(job.fetched(outcome.ref), "salvaged"));
  expect(files.filter((path) => path in ignored).sort()).toEqual([...saved].sort());
});
