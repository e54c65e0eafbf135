/** Kept files survive a kill at every change of the disk, in one place each. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { dieAt } from "./dying.js";
import { KeptBench, type KeptWorkspace, placesOf } from "./kept-site.js";

vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 });

const paths = [".venv", "node_modules"];
const files = { "node_modules/x.js": "x", ".venv/y.py": "y" };

let bench: KeptBench;
beforeEach(async () => {
  bench = await new KeptBench().start();
});
afterEach(() => bench.close());

/** Whether it was killed before it was done. */
function dies(operation: string, request: unknown, step: number): boolean {
  return dieAt("dependencies/kept-paths", operation, request, step) === undefined;
}

async function installed(): Promise<{ workspace: KeptWorkspace; inodes: number[] }> {
  const workspace = await bench.workspace();
  workspace.write(files);
  return { workspace, inodes: Object.keys(files).map((name) => statSync(join(workspace.path, name)).ino) };
}

/** Each file once below the data directory; answers the first parts of where they are. */
function whereabouts(inodes: readonly number[]): string[] {
  const root = bench.bench.directory.path;
  return inodes.map((ino) => {
    const found = placesOf(root, ino);
    expect(found).toHaveLength(1);
    return found[0]?.slice(root.length + 1).split("/")[0] as string;
  });
}

test("A7 B2 killed at any change while keeping, each file is in one place, and the next attempt keeps all", async () => {
  let kills = 0;
  for (let step = 0; ; step++) {
    const { workspace, inodes } = await installed();
    const killed = dies("keepDependencies", workspace.keepRequest(paths), step);
    for (const place of whereabouts(inodes)) expect(["workspaces", "dependencies"]).toContain(place);
    // nobody gets what is half moved
    const other = await bench.workspace();
    const { state } = await other.place(paths);
    if (state === "READY") expect(killed ? existsSync(join(workspace.path, "node_modules")) : false).toBe(false);
    else expect(await workspace.keep(paths)).toEqual({ kind: "kept", paths });
    const next = state === "READY" ? other : await bench.workspace();
    if (next !== other) expect((await next.place(paths)).state).toBe("READY");
    expect(Object.keys(files).map((name) => statSync(join(next.path, name)).ino)).toEqual(inodes);
    if (!killed) break;
    kills += 1;
  }
  // two directories to move to, two moves, the state and its name at least
  expect(kills).toBeGreaterThanOrEqual(6);
});

test("A7 B2 killed at any change while placing, each file is in one place, and no second workspace gets any", async () => {
  let kills = 0;
  for (let step = 0; ; step++) {
    const { workspace: giving, inodes } = await installed();
    await giving.keep(paths);
    const taking = await bench.workspace();
    const killed = dies("placeDependencies", taking.placeRequest(paths), step);
    for (const place of whereabouts(inodes)) expect(["workspaces", "dependencies", "trash"]).toContain(place);
    const second = await bench.workspace();
    const { state } = await second.place(paths);
    const names = Object.keys(files);
    const there = names.map((name) => existsSync(join(second.path, name)));
    expect(there).toEqual(names.map(() => state === "READY"));
    if (state === "READY") {
      // it died before it had the set
      expect(readdirSync(taking.path)).not.toContain("node_modules");
      expect(readdirSync(taking.path)).not.toContain(".venv");
    }
    // the next owner of the host, which knows of no such lease
    const { engine, trash } = bench.bench;
    const root = join(bench.store, "..");
    await engine.sweepDependencies({ root, trash, pending: [] });
    expect(readdirSync(bench.store).filter((name) => name.startsWith("taken-"))).toEqual([]);
    whereabouts(inodes);
    if (!killed) break;
    kills += 1;
  }
  expect(kills).toBeGreaterThanOrEqual(5);
});

test("A7 B2 what is half moved goes to the trash, unless its lease's cleaning goes on with it", async () => {
  const { workspace, inodes } = await installed();
  const request = workspace.keepRequest(paths);
  let step = 0;
  while (dies("keepDependencies", request, step) && !existsSync(join(bench.store, workspace.leaseId, "files", ".venv")))
    step++;
  const { engine, trash } = bench.bench;
  const sweep = (pending: readonly string[]) =>
    engine.sweepDependencies({ root: join(bench.store, ".."), trash, pending });
  expect(await sweep([workspace.leaseId])).toBe(0);
  expect(whereabouts(inodes).sort()).toEqual(["dependencies", "workspaces"]);
  expect(await sweep([])).toBe(1);
  expect(whereabouts(inodes).sort()).toEqual(["trash", "workspaces"]);
});
