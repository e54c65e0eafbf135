/** Whatever this host fails at for a moment is told as such: it is no damage of a mirror, and no difference of a workspace. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { classify } from "../../src/git/classify.js";
import { isHostFault } from "../../src/git/worker/files/fault.js";
import { CallError } from "../../src/git/worker-pool.js";
import { UpstreamRepository } from "../support/repositories.js";
import { Bench, Site, workerEntry } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("one", { "a.txt": "a\n", "dir/b.txt": "b\n" });
  mirror = await bench.mirror(upstream.path);
});
afterAll(() => bench.close());

/** Does the operation again and again, each time with another file that cannot be opened, until it opens no more. */
function answers(module: string, operation: string, request: unknown): readonly string[] {
  const script = bench.at(`${operation}.mjs`);
  writeFileSync(
    script,
    `import fs from "node:fs";
    import { syncBuiltinESMExports } from "node:module";
    let left = Infinity;
    const limited = (real) => (...args) => {
      if (left-- === 0) throw Object.assign(new Error("ENFILE: file table overflow"), { code: "ENFILE", syscall: "open" });
      return real(...args);
    };
    for (const name of ["openSync", "readFileSync", "readdirSync"]) fs[name] = limited(fs[name]);
    syncBuiltinESMExports();
    const worker = ${JSON.stringify(pathToFileURL(workerEntry).href)};
    const operations = await import(new URL(${JSON.stringify(`./${module}.js`)}, worker));
    const { toFault } = await import(new URL("./files/fault.js", worker));
    const told = new Set();
    for (let files = 0; left < 0 || files === 0; files++) {
      if (files > 1000) throw new Error("it never ends");
      left = files;
      try {
        told.add(JSON.stringify(await operations[${JSON.stringify(operation)}](${JSON.stringify(request)})) ?? "none");
      } catch (error) {
        told.add(String(toFault(error).code));
      }
    }
    console.log(JSON.stringify([...told]));`,
  );
  const output = execFileSync(process.execPath, [script], { encoding: "utf8" });
  return JSON.parse(output);
}

test("A5 a host without files for a moment does not make a mirror look broken", () => {
  const told = answers("mirror/mirror-check", "inspectMirror", mirror);
  expect(told.map((one) => one.replace(/^\{.*\}$/, "whole"))).toEqual(["ENFILE", "whole"]);
});

test("A5 a host without files for a moment does not make a mirror's objects look damaged", () => {
  expect(answers("mirror/mirror-record", "damagedObjects", mirror)).toEqual(["ENFILE", "[]"]);
});

test("A5 a host without files for a moment does not make a workspace look as if it differed", async () => {
  const site = new Site(bench, mirror, upstream.path, "w");
  const target = await site.prepare();
  const { path, origin, trustedIndex } = site;
  const told = answers("verify/verify", "verifyWorkspace", { mirror, path, origin, trustedIndex, target, deep: true });
  expect(told).toEqual(["ENFILE", expect.stringContaining("pristine")]);
});

test.each(["No space left on device", "Cannot allocate memory", "Too many open files", "Input/output error"])(
  "A5 libgit2's %s is this host's fault for the server and for its workers alike",
  (text) => {
    const message = `failed to map a file: ${text}`;
    expect(isHostFault(new Error(message))).toBe(true);
    const failure = classify(new CallError("failed", message, { message }), {
      operation: "fetchMirror",
      url: "https://x/y",
    });
    expect(["HOST_IO", "DISK_LOW"]).toContain(failure.reason);
  },
);
