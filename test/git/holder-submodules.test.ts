/** Submodules and contents of Git LFS in the two-uid layout: the holders' user's own, whoever made them. As root only. */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { CheckoutTarget } from "../../src/ports/git-engine.js";
import { git, UpstreamRepository } from "../support/repositories.js";
import { asHolder, fingerprint, isRoot, Scene } from "./holder-support.js";
import { Site } from "./support.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

if (!isRoot) process.stdout.write("test/git/holder-submodules.test.ts: skipped, it needs root to have a second user\n");
const content = "content ".repeat(1000);
const oid = createHash("sha256").update(content).digest("hex");
const stored = `lfs/objects/${oid.slice(0, 2)}/${oid.slice(2, 4)}/${oid}`;
let scene: Scene;
let mirror: string;
let origin: string;
let site: Site;
let target: CheckoutTarget;
let workspaces = 0;

beforeAll(async () => {
  if (!isRoot) return;
  scene = await new Scene().open();
  const { bench } = scene;
  const sub = new UpstreamRepository(bench.at("sub"));
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${content.length}\n`;
  const files = { "a.txt": "aaa\n", "dir/b.txt": "bbb\n", ".gitattributes": "*.bin filter=lfs\n", "big.bin": pointer };
  const commit = sub.commit("base", files);
  const top = new UpstreamRepository(bench.at("top"));
  const gitmodules = `[submodule "name"]\n\tpath = lib/sub\n\turl = ${sub.path}\n`;
  top.commit("base", {
    "t.txt": "t\n",
    ".gitmodules": gitmodules,
    ".gitattributes": "*.bin filter=lfs\n",
    "top.bin": pointer,
  });
  top.git("update-index", "--add", "--cacheinfo", `160000,${commit},lib/sub`);
  top.git("commit", "-q", "-m", "submodule");
  origin = top.path;
  mirror = await bench.mirror(top.path, "mirrors/top");
  const module = await bench.mirror(sub.path, "mirrors/sub");
  mkdirSync(join(sub.path, ".git", stored, ".."), { recursive: true });
  writeFileSync(join(sub.path, ".git", stored), content);
  const source = { kind: "local", path: sub.path } as const;
  for (const place of [mirror, module]) {
    const objects = [{ oid, size: content.length }];
    await bench.engine.fetchLfs({ mirror: place, source, objects, deadlineMs: 60_000 });
  }
  const submodule = { name: "name", path: "lib/sub", url: sub.path, commit, mirror: module, update: "", lfs: true };
  target = { ...(await new Site(bench, mirror, origin, "x").target("")), lfs: true };
  target = { ...target, submodules: [{ ...submodule, submodules: [] }] };
});
afterAll(async () => {
  if (isRoot) await scene.bench.close();
});
beforeEach(async () => {
  if (!isRoot) return;
  site = new Site(scene.bench, mirror, origin, `m${++workspaces}`);
  const { path, trustedIndex } = site;
  await scene.bench.engine.prepareWorkspace({ mirror, path, origin, trustedIndex, target });
});

const verify = () => scene.verify(site, target);
const notOwn = 'cd "$1" && find . ! -user 61234 ! -path "*/objects/pack/*" ! -path "*/objects/??/*"';

describe.skipIf(!isRoot)("submodules and Git LFS in the two-uid layout", () => {
  it("belong to the holders' user, whose git finds nothing changed, and are proven", async () => {
    expect(await verify()).toMatchObject({ kind: "pristine" });
    expect(asHolder(notOwn, site.path)).toBe("");
    const told = asHolder(
      'cd "$1" && git status --porcelain --ignored && git submodule status && cd lib/sub && git status --porcelain --ignored && git fsck',
      site.path,
    );
    expect(told).toMatch(/^ [0-9a-f]{40} lib\/sub \(.*\)\n$/);
    for (const place of ["top.bin", "lib/sub/big.bin"])
      expect(readFileSync(join(site.path, place), "utf8")).toBe(content);
    expect(lstatSync(join(site.path, ".git/modules/name", stored))).toMatchObject({ uid: 61_234, nlink: 1 });
    asHolder('cd "$1/lib/sub" && echo x >> a.txt && echo x >> big.bin && git commit -qam mine && rm -r dir', site.path);
  });

  it.each([
    [
      "changes everything",
      'cd "$1/lib/sub" && echo x >> a.txt && echo x >> big.bin && echo x > new && git commit -qam x',
    ],
    ["removes everything", 'rm -rf "$1/lib" "$1/.git/modules" "$1/.git/lfs" "$1/top.bin"'],
    ["takes all rights", 'find "$1/lib/sub" "$1/.git/modules" -depth ! -path "*/objects/*" -exec chmod 000 {} +'],
    [
      "puts symlinks to what is not its own in their places",
      'rm -rf "$1/lib" "$1/.git/modules" && ln -s "$3" "$1/lib" && ln -s "$4" "$1/.git/modules"',
    ],
    [
      "puts a symlink in the submodule's place",
      'rm -rf "$1/lib/sub" "$1/.git/lfs" && ln -s "$4" "$1/lib/sub" && ln -s "$4" "$1/.git/lfs"',
    ],
    [
      "makes its files links to its own outside",
      'ln -f "$2/mine" "$1/lib/sub/a.txt"; ln -f "$2/mine" "$1/lib/sub/big.bin"',
    ],
  ])("are made anew where the user %s, and nothing outside is touched", async (_what, script) => {
    const places = scene.outside(site.name);
    const canaries = places.slice(1).flatMap(fingerprint);
    const mine = readFileSync(join(places[0], "mine"), "utf8");
    asHolder(script, site.path, ...places);
    await scene.clean(site, target);
    expect(await verify()).toMatchObject({ kind: "pristine" });
    expect(asHolder(notOwn, site.path)).toBe("");
    expect([readFileSync(join(places[0], "mine"), "utf8"), places.slice(1).flatMap(fingerprint)]).toEqual([
      mine,
      canaries,
    ]);
  });

  it("G2 are salvaged with the user's rights, and cleaned by the same comparison", async () => {
    const script =
      'cd "$1/lib/sub" && echo committed > a.txt && git commit -qam mine && echo mine > big.bin && echo new > new.txt';
    asHolder(script, site.path);
    const { path, trustedIndex } = site;
    const names = { repository: "r", workspaceId: "w1", leaseId: "w1.1", holder: "", caller: "", reason: "X" };
    const salvages = scene.bench.at("salvages/r.git");
    const outcome = await scene.bench.engine.salvageWork({
      ...{ mirror, candidates: [path], from: target.commit, trustedIndex, salvageIgnored: [], salvages },
      report: { salvageId: `s${workspaces}.1`, ...names },
      limits: { fileBytes: 1e8, totalBytes: 1e9 },
    });
    expect(outcome).toMatchObject({ kind: "saved", incomplete: [] });
    const { commit } = outcome as { commit: string };
    const show = (file: string) => git(salvages, "show", `${commit}:lib/sub/${file}`);
    expect(["a.txt", "big.bin", "new.txt"].map(show)).toEqual(["committed", "mine", "new"]);
    const cleaned = await site.clean(target.commit, target, { comparedBefore: true });
    expect(cleaned).toEqual({ kind: "clean", recreated: false });
    expect(await verify()).toMatchObject({ kind: "pristine" });
  });

  it("are moved with the workspace", async () => {
    const upstream = new UpstreamRepository(origin);
    const before = target;
    upstream.git("reset", "-q", "--hard");
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${content.length}\n`;
    upstream.commit("two", { "t.txt": "changed\n", "other.bin": pointer });
    await scene.bench.fetch(mirror, origin);
    target = { ...target, ...(await site.target("")) };
    const { path, trustedIndex } = site;
    await scene.bench.engine.prepareWorkspace({ mirror, path, origin, trustedIndex, target, from: before.commit });
    expect(await verify()).toMatchObject({ kind: "pristine" });
    expect(asHolder(notOwn, site.path)).toBe("");
    expect(readFileSync(join(site.path, "other.bin"), "utf8")).toBe(content);
  });

  it("are found to differ where something of them is not the user's", async () => {
    execFileSync("chown", ["-h", "root", join(site.path, ".git/modules/name/config"), join(site.path, ".git", stored)]);
    expect(await verify()).toMatchObject({
      kind: "differs",
      findings: expect.arrayContaining(["submodule lib/sub: git directory: config: belongs to another user"]),
    });
    await scene.clean(site, target);
    execFileSync("chown", ["-h", "root", join(site.path, "lib/sub/dir")]);
    expect(await verify()).toMatchObject({ kind: "differs" });
  });
});
