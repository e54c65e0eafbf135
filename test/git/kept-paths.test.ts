/** What a lease installed is moved, not copied, and only what may be. */
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { KeepDependenciesRequest } from "../../src/ports/dependency-files.js";
import { git } from "../support/repositories.js";
import { KeptBench, type KeptWorkspace } from "./kept-site.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let bench: KeptBench;
beforeAll(async () => {
  bench = await new KeptBench().start({ ".gitattributes": "*.txt eol=crlf\n" });
});
afterAll(() => bench.close());

const paths = ["node_modules"];

/** Keeps by another request for the same lease. */
async function otherOf(workspace: KeptWorkspace, request: KeepDependenciesRequest): Promise<{ fingerprint: string }> {
  const fingerprint = await bench.bench.engine.workspaceFingerprint({ ...request, path: workspace.path });
  const outcome = await bench.bench.engine.keepDependencies({ ...request, fingerprint });
  expect(outcome.kind).toBe("kept");
  return { fingerprint };
}

describe("kept paths", () => {
  test("A7 a tree of 20,000 files is moved as it is: no file is made or touched", async () => {
    const first = await bench.workspace();
    const modules = join(first.path, "node_modules");
    for (let directory = 0; directory < 100; directory++) {
      const place = join(modules, `d${directory}`);
      mkdirSync(place, { recursive: true });
      writeFileSync(join(place, "f0.js"), "x");
      for (let file = 1; file < 200; file++) linkSync(join(place, "f0.js"), join(place, `f${file}.js`));
    }
    const inodes = (root: string) =>
      readdirSync(root).map((name) => {
        const directory = lstatSync(join(root, name));
        const file = lstatSync(join(root, name, "f0.js"));
        return [
          name,
          directory.ino,
          file.dev,
          file.ino,
          file.ctimeMs,
          file.nlink,
          readdirSync(join(root, name)).length,
        ];
      });
    const before = inodes(modules);
    expect(await first.keep(paths)).toEqual({ kind: "kept", paths });
    expect(existsSync(modules)).toBe(false);
    expect(git(first.path, "status", "--porcelain", "--ignored")).toBe("");
    const second = await bench.workspace();
    expect((await second.place(paths)).state).toBe("READY");
    expect(inodes(join(second.path, "node_modules"))).toEqual(before);
    await second.keep(["none"]);
  });

  test("A7 the state says what is kept, for whom, and of what", async () => {
    const workspace = await bench.workspace();
    workspace.write({ "node_modules/x.js": "x", ".venv/bin/python": "x" });
    expect(await workspace.keep([".venv", "gone/node_modules", "node_modules"])).toEqual({
      kind: "kept",
      paths: [".venv", "node_modules"],
    });
    const state = JSON.parse(readFileSync(join(bench.store, workspace.leaseId, "state.json"), "utf8"));
    expect(state).toMatchObject({
      fingerprint: workspace.fingerprint,
      platform: { os: "linux" },
      manifests: [{ path: "package.json" }, { path: "tools/requirements.txt" }],
      paths: [".venv", "node_modules"],
      lease: workspace.leaseId,
      caller: "",
    });
    expect(statSync(join(bench.store, workspace.leaseId, "files")).mode & 0o777).toBe(0o700);
  });

  test("A7 what another database's lease of the same name left is not taken for this one's", async () => {
    const workspace = await bench.workspace();
    workspace.write({ "node_modules/x.js": "old" });
    const other = { ...workspace.keepRequest(paths), environment: { old: "yes" } };
    const { fingerprint } = await otherOf(workspace, other);
    expect(fingerprint).not.toBe(workspace.fingerprint);
    workspace.write({ "node_modules/x.js": "new" });
    expect(await workspace.keep(paths)).toEqual({ kind: "kept", paths });
    const set = join(bench.store, workspace.leaseId);
    expect(readFileSync(join(set, "files/node_modules/x.js"), "utf8")).toBe("new");
    expect(JSON.parse(readFileSync(join(set, "state.json"), "utf8")).fingerprint).toBe(workspace.fingerprint);
  });

  test("A7 manifests whose line ends a checkout converts are the commit's", async () => {
    const workspace = await bench.workspace();
    expect(readFileSync(join(workspace.path, "tools/requirements.txt"), "utf8")).toBe("a==1\r\n");
    workspace.write({ "node_modules/x.js": "x" });
    expect((await workspace.keep(paths)).kind).toBe("kept");
  });

  test.each<[string, (workspace: KeptWorkspace) => void]>([
    ["is a symlink", ({ path }) => symlinkSync(bench.store, join(path, "node_modules"))],
    [
      "is below a symlink",
      ({ path }) => {
        mkdirSync(join(path, "elsewhere/node_modules"), { recursive: true });
        symlinkSync("elsewhere", join(path, "deep"));
      },
    ],
    [
      "is far below a symlink",
      ({ path }) => {
        mkdirSync(join(path, "elsewhere/in/node_modules"), { recursive: true });
        symlinkSync("elsewhere", join(path, "deep"));
      },
    ],
    ["is not ignored", (workspace) => workspace.write({ "build/x": "x" })],
  ])("A7 nothing is kept where one of the paths %s", async (_what, mischief) => {
    const workspace = await bench.workspace();
    workspace.write({ ".venv/x.py": "x" });
    mischief(workspace);
    const outcome = await workspace.keep([
      ".venv",
      "build",
      "deep/in/node_modules",
      "deep/node_modules",
      "node_modules",
    ]);
    expect(outcome).toMatchObject({ kind: "nothing" });
    expect(existsSync(join(bench.store, workspace.leaseId))).toBe(false);
    expect(existsSync(join(workspace.path, ".venv/x.py"))).toBe(true);
  });

  test("A7 a set is not put over what is there, nor through a symlink, and stays", async () => {
    const giving = await bench.workspace();
    giving.write({ "deep/node_modules/x.js": "x" });
    const wish = ["deep/node_modules"];
    expect((await giving.keep(wish)).kind).toBe("kept");
    const blocked = await bench.workspace();
    const outside = bench.bench.at("outside");
    mkdirSync(outside);
    symlinkSync(outside, join(blocked.path, "deep"));
    expect((await blocked.place(wish)).state).toBe("MISSING");
    expect(existsSync(join(outside, "node_modules"))).toBe(false);
    rmSync(join(blocked.path, "deep"));
    blocked.write({ "deep/node_modules": "a file" });
    expect((await blocked.place(wish)).state).toBe("MISSING");
    rmSync(join(blocked.path, "deep"), { recursive: true });
    expect((await blocked.place(wish)).state).toBe("READY");
    expect(readFileSync(join(blocked.path, "deep/node_modules/x.js"), "utf8")).toBe("x");
  });

  test("A7 what was kept of another repository of the same name is not taken", async () => {
    const giving = await bench.workspace();
    giving.write({ ".venv/x.py": "x" });
    await giving.keep([".venv"]);
    const taking = await bench.workspace();
    const request = { ...taking.placeRequest([".venv"]), origin: "https://git.example.com/other.git" };
    expect((await bench.bench.engine.placeDependencies(request)).state).toBe("MISSING");
    expect((await taking.place([".venv"])).state).toBe("READY");
  });

  test("A7 a hard link into the kept files is none of the next workspace's business", async () => {
    const giving = await bench.workspace();
    giving.write({ "node_modules/x.js": "x" });
    linkSync(join(giving.path, "node_modules/x.js"), join(giving.path, "node_modules/y.js"));
    expect((await giving.keep(["node_modules", "z/node_modules"])).kind).toBe("kept");
    const taking = await bench.workspace();
    expect((await taking.place(["node_modules", "z/node_modules"])).state).toBe("READY");
    expect(lstatSync(join(taking.path, "node_modules/y.js")).nlink).toBe(2);
  });

  test("A7 of many at once, each set has one taker", async () => {
    const wish = [".venv", "many/node_modules"];
    for (let count = 0; count < 2; count++) {
      const giving = await bench.workspace();
      giving.write({ ".venv/x.py": "x" });
      await giving.keep(wish);
    }
    const taking = await Promise.all([1, 2, 3, 4, 5].map(() => bench.workspace()));
    const placed = await Promise.all(taking.map((workspace) => workspace.place(wish)));
    expect(placed.map(({ state }) => state).sort()).toEqual(["MISSING", "MISSING", "MISSING", "READY", "READY"]);
    for (const [index, workspace] of taking.entries()) {
      expect(existsSync(join(workspace.path, ".venv/x.py"))).toBe(placed[index]?.state === "READY");
    }
  });

  test("A7 of the caches, those in use and the sixteen that were used last are kept", async () => {
    const workspace = await bench.workspace();
    const open = async (number: number, cachesInUse: readonly string[] = []) => {
      const fingerprint = String(number).padStart(64, "0");
      const request = {
        ...workspace.placeRequest([]),
        fingerprint,
        cachesInUse,
        store: bench.bench.at("dependencies", "other"),
      };
      return (await bench.bench.engine.placeDependencies(request)).cachePath;
    };
    const opened: string[] = [];
    for (let number = 0; number < 17; number++) {
      const path = await open(number);
      opened.push(path);
      // as if it was a while ago
      utimesSync(path, 1_000 + number, 1_000 + number);
      expect(statSync(path).mode & 0o777).toBe(0o700);
    }
    const [oldest = "", second = ""] = opened;
    await open(17, [oldest]);
    expect(existsSync(oldest)).toBe(true);
    expect(existsSync(second)).toBe(true);
    await open(18, [oldest]);
    expect(opened.filter((path) => !existsSync(path))).toEqual([second]);
  });
});
