/** The two-uid layout: dependencies are moved into a workspace beside a process of the holders' user. As root only. */
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { useProcesses } from "../support/processes.js";
import { until } from "../support/until.js";
import { holder, isRoot } from "./holder-support.js";
import { KeptBench, type KeptWorkspace } from "./kept-site.js";

if (!isRoot)
  process.stdout.write("test/git/holder-dependencies.test.ts: skipped, it needs root to have a second user\n");
const processes = useProcesses();
const paths = ["x/deep/node_modules"];
let bench: KeptBench;

beforeAll(async () => {
  if (isRoot) bench = await new KeptBench({ holder }).start();
});
afterAll(async () => {
  if (isRoot) await bench.close();
});

/** Has a lease leave dependencies. */
async function leave(workspace: KeptWorkspace, paths: readonly string[]): Promise<void> {
  workspace.write(Object.fromEntries(paths.map((path) => [`${path}/a.js`, "a"])));
  execFileSync("chown", ["-R", `${holder.uid}:${holder.gid}`, workspace.path]);
  expect(await workspace.keep(paths)).toEqual({ kind: "kept", paths });
}

describe.skipIf(!isRoot)("with a second user", () => {
  it("A7 directories on the way to kept paths are made with the holders' rights", async () => {
    const [left, next] = [await bench.workspace(), await bench.workspace()];
    await leave(left, paths);
    expect((await next.place(paths)).state).toBe("READY");
    for (const path of ["x", "x/deep", "x/deep/node_modules"]) {
      expect(lstatSync(join(next.path, path))).toMatchObject(holder);
    }
  });

  it("A7 an installer's cache whose making was killed is the holders' for the next lease", async () => {
    const workspace = await bench.workspace();
    const { cachePath } = await workspace.place([]);
    expect(lstatSync(cachePath)).toMatchObject(holder);
    chownSync(cachePath, 0, 0);
    expect((await workspace.place([])).cachePath).toBe(cachePath);
    expect(lstatSync(cachePath)).toMatchObject(holder);
  });

  it("no directory is made, or given away, behind a symlink that comes up meanwhile", async () => {
    const [left, next] = [await bench.workspace(), await bench.workspace()];
    const many = [...Array.from({ length: 300 }, (_, number) => `k${number}/node_modules`), ...paths];
    await leave(left, many);
    const [secret, own] = [bench.bench.at("secret"), bench.bench.at("own")];
    for (const place of [secret, own]) mkdirSync(place);
    // all may look into it, and only the server may write
    chmodSync(secret, 0o755);
    execFileSync("chown", [`${holder.uid}:${holder.gid}`, own]);
    // as soon as the first path is there: all have been looked at by then, and the last is yet to come
    const script = `
      const fs = require("fs"), [secret, own] = process.argv.slice(1);
      fs.writeFileSync(own + "/ready", "x");
      while (!fs.existsSync("k0"));
      fs.symlinkSync(secret, "x");
      fs.writeFileSync(own + "/done", "x");`;
    processes.run(process.execPath, ["-e", script, secret, own], { ...holder, cwd: next.path });
    await until("it watches", () => existsSync(join(own, "ready")));
    await expect(next.place(many)).rejects.toThrow();
    await until("it has made its symlink", () => existsSync(join(own, "done")));
    expect(readdirSync(secret)).toEqual([]);
  }, 60_000);
});
