/** What refuses to be cleaned. Mounts, attributes and other users take root; without it those tests are skipped. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { CheckoutTarget } from "../../src/ports/git-engine.js";
import { cleanEnvironment } from "../support/environment.js";
import { UpstreamRepository, writeFile } from "../support/repositories.js";
import { Bench, Site, state, workerEntry } from "./support.js";

vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 });

let bench: Bench;
let upstream: UpstreamRepository;
let mirror: string;
let made = 0;
const undo: (() => void)[] = [];

const can = (program: string, ...args: readonly string[]): boolean => {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};
const probe = new Bench();
const isRoot = process.getuid?.() === 0;
const canMount = isRoot && can("mount", "--bind", probe.directory.path, probe.directory.path);
if (canMount) execFileSync("umount", [probe.directory.path]);
writeFileSync(probe.at("file"), "");
const canFreeze = isRoot && can("chattr", "+i", probe.at("file"));
if (canFreeze) execFileSync("chattr", ["-i", probe.at("file")]);
const canBeNobody =
  isRoot && can("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, "-v");

beforeAll(async () => {
  bench = new Bench();
  upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("base", {
    ".gitignore": "build/\n",
    "a.txt": "aaa\n",
    "dir/c.txt": "ccc\n",
    "dir/deep/d.txt": "d\n",
  });
  mirror = await bench.mirror(upstream.path);
});
afterAll(async () => {
  for (const step of undo.reverse()) step();
  await probe.close();
  await bench.close();
});

async function newSite(): Promise<{ site: Site; target: CheckoutTarget }> {
  const site = new Site(bench, mirror, upstream.path, `x${++made}`);
  return { site, target: await site.prepare() };
}

function salvage(site: Site, target: CheckoutTarget) {
  const names = { repository: "r", workspaceId: "w", leaseId: "l", holder: "h", caller: "c", reason: "RELEASED" };
  return bench.engine.salvageWork({
    mirror,
    candidates: [site.path],
    from: target.commit,
    trustedIndex: site.trustedIndex,
    salvageIgnored: [],
    salvages: bench.at("salvages.git"),
    report: { salvageId: `s${made}.1`, ...names },
    limits: { fileBytes: 1e8, totalBytes: 1e8 },
  });
}

describe.runIf(canMount)("A5 another file system that is mounted inside is never entered:", () => {
  const mounts: Record<string, (place: string) => void> = {
    "a tmpfs": (place) => execFileSync("mount", ["-t", "tmpfs", "none", place]),
    "a directory of the same file system": (place) => {
      const canary = bench.at(`canary-${made}`);
      writeFile(join(canary, "kept"), "kept\n");
      execFileSync("mount", ["--bind", canary, place]);
    },
  };
  const places = ["dir/deep", "untracked", "build"];
  test.each(Object.keys(mounts).flatMap((kind) => places.map((place) => [kind, place] as const)))(
    "A5 %s at %s",
    async (kind, place) => {
      const { site, target } = await newSite();
      const point = join(site.path, place);
      mkdirSync(point, { recursive: true });
      mounts[kind]?.(point);
      const unmount = (): void => void execFileSync("umount", [point]);
      undo.push(() => existsSync(point) && can("umount", point));
      if (kind === "a tmpfs") writeFileSync(join(point, "kept"), "kept\n");
      const before = site.path;
      const detail = `another file system is mounted at ${place}`;
      expect(await salvage(site, target)).toEqual({ kind: "refused", path: before, detail });
      for (const fromScratch of [false, true]) {
        expect(await site.clean(target.commit, target, { fromScratch })).toEqual({
          kind: "obstructed",
          path: before,
          detail,
        });
      }
      const found = await site.verify(target, { deep: true });
      expect(found.kind === "differs" && found.findings.join("\n")).toMatch(
        place === "dir/deep" ? detail : `${place}: is not of the commit`,
      );
      const gone = { mirror, candidates: [before], trash: bench.trash, trustedIndex: site.trustedIndex, from: "" };
      expect(await bench.engine.discardWorkspace({ ...gone })).toMatchObject({ kind: "obstructed" });
      expect(readFileSync(join(point, "kept"), "utf8")).toBe("kept\n");
      unmount();
      expect(await site.clean(target.commit, target)).toMatchObject({ kind: "clean" });
      expect(state(site.path)).toEqual(state(site.reference(target)));
    },
  );

  test("A5 in the trash", async () => {
    const place = join(bench.trash, "t/in/it");
    writeFile(join(bench.at("kept"), "kept"), "kept\n");
    mkdirSync(place, { recursive: true });
    execFileSync("mount", ["--bind", bench.at("kept"), place]);
    await expect(bench.engine.emptyTrash(bench.trash)).rejects.toThrow();
    execFileSync("umount", [place]);
    expect(readFileSync(join(bench.at("kept"), "kept"), "utf8")).toBe("kept\n");
    await bench.engine.emptyTrash(bench.trash);
    expect(existsSync(join(bench.trash, "t"))).toBe(false);
  });
});

describe.runIf(canFreeze)("A5 what is immutable is told, once, and can be cleaned when it is not any more:", () => {
  test.each([
    ["an untracked file", "new", true],
    ["a tracked file", "a.txt", true],
    ["a tracked directory", "dir", false],
    ["a file below an untracked directory", "x/y/z", true],
    ["the workspace itself", ".", false],
  ])("A5 %s", async (_, name, isFile) => {
    const { site, target } = await newSite();
    const place = join(site.path, name);
    if (isFile) writeFile(place, "immutable\n");
    execFileSync("chattr", ["+i", place]);
    undo.push(() => existsSync(place) && can("chattr", "-i", place));
    const outcome = await site.clean(target.commit, target);
    const now = join(site.path, name);
    const isBelow = name === "x/y/z";
    if (isBelow) {
      // its directory goes into the trash as a whole; emptying that goes on past it
      expect(outcome).toMatchObject({ kind: "clean" });
      await expect(bench.engine.emptyTrash(bench.trash)).rejects.toThrow(/trash cannot be emptied: .*immutable/);
      execFileSync("chattr", ["-R", "-i", bench.trash]);
      return;
    }
    expect(outcome).toMatchObject({
      kind: "obstructed",
      detail: expect.stringContaining("cannot be changed or removed"),
    });
    if (name !== ".") expect(outcome).toMatchObject({ detail: expect.stringMatching(new RegExp(`^${name} `)) });
    execFileSync("chattr", ["-i", now]);
    expect(await site.clean(target.commit, target)).toMatchObject({ kind: "clean" });
    expect(state(site.path)).toEqual(state(site.reference(target)));
    expect(await site.verify(target)).toMatchObject({ kind: "pristine" });
  });
});

describe.runIf(isRoot)("A5 files and directories of another user, cleaned by root", () => {
  test("A5 are replaced, whatever their modes", async () => {
    const { site, target } = await newSite();
    writeFile(join(site.path, "theirs/in"), "x");
    for (const name of ["a.txt", "dir", "dir/deep", "dir/deep/d.txt", "theirs", "theirs/in", ".git/config", "."]) {
      chownSync(join(site.path, name), 65_534, 65_534);
    }
    chmodSync(join(site.path, "theirs"), 0);
    expect(await site.clean(target.commit, target)).toMatchObject({ kind: "clean" });
    expect(await site.verify(target)).toMatchObject({ kind: "pristine" });
    expect(state(site.path)).toEqual(state(site.reference(target)));
  });
});

/** Runs one call of an engine as nobody. */
function asNobody(call: string, request: object | string): unknown {
  const engine = new URL("../../dist/src/git/engine.js", import.meta.url).href;
  const script = `
    const { createGitEngine } = await import(${JSON.stringify(engine)});
    const engine = createGitEngine({ workerEntry: ${JSON.stringify(workerEntry)}, lanes: { local: 1 } });
    const answer = await engine.${call}(${JSON.stringify(request)});
    await engine.close();
    console.log(JSON.stringify(answer ?? null));`;
  const args = [
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    process.execPath,
    "--input-type=module",
    "-e",
    script,
  ];
  const env = cleanEnvironment({ HOME: "/nonexistent", TMPDIR: bench.at("nobody") });
  return JSON.parse(execFileSync("setpriv", args, { encoding: "utf8", cwd: "/", env, timeout: 20_000 }));
}

describe.runIf(canBeNobody)("A5 files of another user, cleaned by an ordinary user:", () => {
  const theirRoot = (): string => {
    const root = bench.at("nobody");
    mkdirSync(root, { recursive: true });
    for (const place of [bench.directory.path, root]) chmodSync(place, 0o755);
    chownSync(root, 65_534, 65_534);
    return root;
  };
  const prepared = async (): Promise<{ request: object; path: string; target: CheckoutTarget }> => {
    const root = theirRoot();
    const path = join(root, `w${++made}`);
    const target = { ...(await bench.engine.resolve(mirror, "")), tracking: true };
    const request = { mirror, path, origin: upstream.path, trustedIndex: join(root, `i${made}`), target };
    asNobody("prepareWorkspace", request);
    const more = { candidates: [path], trash: join(root, "trash"), from: target.commit, deep: false };
    return { request: { ...request, ...more }, path, target };
  };

  test("A5 a file is removed, as its directory is the server's", async () => {
    const { request, path } = await prepared();
    rmSync(join(path, "a.txt"));
    writeFileSync(join(path, "a.txt"), "aaa\n");
    writeFileSync(join(path, "new"), "root's\n");
    expect(asNobody("cleanWorkspace", request)).toEqual({ kind: "clean", recreated: false });
    expect(asNobody("verifyWorkspace", request)).toMatchObject({ kind: "pristine" });
  });

  test.each(["theirs", "dir/deep"])("A5 a directory (%s) that the server may not change is told", async (name) => {
    const { request, path } = await prepared();
    writeFile(join(path, name, "in"), "root's\n");
    chownSync(join(path, name), 0, 0);
    chmodSync(join(path, name), 0o755);
    const detail = expect.stringMatching(new RegExp(`^${name}.* cannot be changed or removed: .*another user`));
    expect(asNobody("cleanWorkspace", request)).toEqual({ kind: "obstructed", path, detail });
    chownSync(join(path, name), 65_534, 65_534);
    expect(asNobody("cleanWorkspace", request)).toMatchObject({ kind: "clean" });
    expect(asNobody("verifyWorkspace", request)).toMatchObject({ kind: "pristine" });
    symlinkSync("/", join(path, "to-root"));
    expect(asNobody("cleanWorkspace", request)).toMatchObject({ kind: "clean" });
  });

  test("A5 emptying the trash ends where something deep in it refuses to move, and tells of it", () => {
    const trash = join(theirRoot(), "deep-trash");
    const deep = join(trash, ...Array.from({ length: 65 }, () => "d"));
    mkdirSync(join(deep, "theirs"), { recursive: true });
    writeFileSync(join(deep, "theirs", "in"), "root's\n");
    execFileSync("chown", ["-R", "65534:65534", trash]);
    chownSync(join(deep, "theirs"), 0, 0);
    expect(() => asNobody("emptyTrash", trash)).toThrow(/the trash cannot be emptied: .*another user/);
    execFileSync("chown", ["-R", "65534:65534", trash]);
    asNobody("emptyTrash", trash);
    expect(readdirSync(trash)).toEqual([]);
  });
});
