/** The two-uid layout: what the holders' user can do, and what it cannot make the server do. As root only. */
import { execFileSync } from "node:child_process";
import { chmodSync, linkSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { CheckoutTarget } from "../../src/ports/git-engine.js";
import { UpstreamRepository } from "../support/repositories.js";
import { asHolder, fingerprint, isRoot, Scene } from "./holder-support.js";
import { listing, type Site, state } from "./support.js";

if (!isRoot) process.stdout.write("test/git/holder-user.test.ts: skipped, it needs root to have a second user\n");
let scene: Scene;
let site: Site;
let target: CheckoutTarget;

beforeAll(async () => {
  if (isRoot) scene = await new Scene().open();
});
afterAll(async () => {
  if (isRoot) await scene.bench.close();
});
beforeEach(async () => {
  if (isRoot) ({ site, target } = await scene.workspace());
});

const clean = () => scene.clean(site, target);
const verify = () => scene.verify(site, target);
const pristine = { kind: "pristine", files: 5 };

describe.skipIf(!isRoot)("the holders' user", () => {
  it("owns its workspace, and git takes it for its own", async () => {
    const told = asHolder(
      'cd "$1" && git status --porcelain --ignored && git commit -q --allow-empty -m mine && git fetch -q 2>/dev/null; git gc -q && git fsck && git log --format=%s',
      site.path,
    );
    expect(told).toBe("mine\none\n");
    expect(asHolder('cd "$1" && find . ! -user 61234 ! -path "./.git/objects/*"', site.path)).toBe("");
    asHolder('rm -rf "$1/src" "$1/.git" "$1/run"', site.path);
    expect(await clean()).toEqual({ kind: "clean", recreated: false });
    expect(await verify()).toMatchObject({ kind: "pristine" });
  });

  it.each(["mirrors", "mirrors/m.git", "indexes", "indexes/w1", "trash", "salvages", "workspaces"])(
    "cannot look into %s, nor change it",
    (name) => {
      const path = scene.bench.at(name);
      for (const script of ['ls "$1"', 'cat "$1"', 'touch "$1/x"', 'rm -rf "$1" || ls "$1"', 'mv "$1" "$1.x"'])
        expect(() => asHolder(script, path), script).toThrow(/denied/i);
    },
  );

  it("shares packs with the mirror that it can neither write to nor make writable", () => {
    const [pack = ""] = asHolder('ls "$1"/.git/objects/pack/*.pack', site.path).split("\n");
    expect(lstatSync(pack)).toMatchObject({
      uid: 0,
      ino: lstatSync(join(scene.mirror, "objects/pack", basename(pack))).ino,
    });
    for (const script of ['echo x >> "$1"', 'chmod u+w "$1"', 'truncate -s 0 "$1"', 'chown 61234 "$1"'])
      expect(() => asHolder(script, pack), script).toThrow(/denied|not permitted/i);
    // its own directory is: a gc replaces its packs, and the mirror's stay
    const mirrored = listing(scene.mirror);
    asHolder('cd "$1" && git gc -q --prune=now && git repack -q -a -d -f && rm -f .git/objects/pack/*', site.path);
    const after = listing(scene.mirror);
    expect(after).toEqual(mirrored);
  });

  it("finds what a move to another commit writes its own", async () => {
    const upstream = new UpstreamRepository(site.origin);
    upstream.commit("two", { "src/deep/main.txt": "changed\n" });
    await scene.bench.fetch(site.mirror, site.origin);
    target = await site.prepare("", { from: target.commit });
    expect(await verify()).toMatchObject({ kind: "pristine" });
    expect(asHolder('cd "$1" && git status --porcelain --ignored && cat src/deep/main.txt', site.path)).toBe(
      "changed\n",
    );
  });
});

/** `$1`: the workspace, `$2`: a directory of the user's own outside, `$3`: what only root may enter, `$4`: what all may read. */
const mischief: readonly (readonly [string, string])[] = [
  ["takes all rights from everything", 'find "$1" -depth ! -name "pack-*" ! -type l -exec chmod 000 {} +'],
  ["makes everything setuid and writable for all", 'chmod -R 6777 "$1" 2>/dev/null || true'],
  ["replaces a directory by a symlink to what only root may enter", 'rm -rf "$1/src" && ln -s "$3" "$1/src"'],
  ["replaces a directory by a symlink to what all may read", 'rm -rf "$1/src" && ln -s "$4" "$1/src"'],
  ["replaces .git by a symlink", 'rm -rf "$1/.git" && ln -s "$3" "$1/.git"'],
  [
    "puts symlinks into .git",
    'rm -rf "$1/.git/objects" "$1/.git/index" && ln -s "$3" "$1/.git/objects" && ln -s "$4/main.txt" "$1/.git/index"',
  ],
  ["points core.worktree elsewhere", 'git -C "$1" config core.worktree "$4"'],
  [
    "makes tracked files hard links to its own outside",
    'ln -f "$2/mine" "$1/src/other.txt"; ln -f "$2/mine" "$1/untracked"',
  ],
  ["leaves a pipe in a file's place", 'rm "$1/src/other.txt" && mkfifo "$1/src/other.txt" "$1/pipe"'],
  [
    "leaves unreadable trees that are not tracked",
    'mkdir -p "$1/a/b/c" && echo x > "$1/a/b/c/d" && chmod 000 "$1/a/b/c" "$1/a/b" "$1/a"',
  ],
];

describe.skipIf(!isRoot)("what the holders' user leaves", () => {
  let canaries: string[];
  let places: readonly string[];

  beforeEach(() => {
    places = scene.outside(site.name);
    canaries = places.slice(1).flatMap(fingerprint);
  });

  const contents = () => listing(places[0] ?? "");

  it.each(mischief)("is cleaned where it %s, and nothing outside is touched", async (_what, script) => {
    const mine = contents();
    asHolder(script, site.path, ...places);
    await clean();
    expect(await verify()).toEqual(pristine);
    expect(state(site.path)).toEqual(state(site.reference(target)));
    expect([contents(), places.slice(1).flatMap(fingerprint)]).toEqual([mine, canaries]);
    expect(readdirSync(scene.bench.trash)).toEqual([]);
  });

  it("is cleaned and removed where it holds files of others, which a container can leave", async () => {
    mkdirSync(join(site.path, "src/roots/deep"), { recursive: true, mode: 0o700 });
    writeFileSync(join(site.path, "src/roots/deep/file"), "root's");
    writeFileSync(join(site.path, "run"), "root's");
    execFileSync("chown", ["root", join(site.path, "run")]);
    await clean();
    expect(await verify()).toEqual(pristine);
    expect(readdirSync(scene.bench.trash)).toEqual([]);
  });

  it("is found to differ where a file or a directory is not the user's", async () => {
    execFileSync("chown", ["-h", "root", join(site.path, "src"), join(site.path, ".git/config")]);
    const found = await verify();
    expect(found).toMatchObject({
      kind: "differs",
      findings: ["src: belongs to another user", ".git/config: belongs to another user"],
    });
  });

  it("is of no use where it is of another layout", async () => {
    expect(await scene.bench.engine.workspaceExists(site.path)).toBe(true);
    execFileSync("chown", ["root", site.path]);
    expect(await scene.bench.engine.workspaceExists(site.path)).toBe(false);
  });

  it("G2 is not salvaged by more rights than the user has", async () => {
    // as where the kernel lets everybody make hard links to what they cannot read
    linkSync(join(places[1] ?? "", "main.txt"), join(site.path, "stolen"));
    chmodSync(join(places[1] ?? "", "main.txt"), 0o600);
    const report = {
      salvageId: "s1.1",
      repository: "r",
      workspaceId: "w1",
      leaseId: "w1.1",
      holder: "",
      caller: "",
      reason: "X",
    };
    const { mirror, path, trustedIndex } = site;
    const outcome = await scene.bench.engine.salvageWork({
      mirror,
      candidates: [path],
      from: target.commit,
      trustedIndex,
      salvageIgnored: [],
      report,

      salvages: scene.bench.at("salvages/r.git"),
      limits: { fileBytes: 1e8, totalBytes: 1e9 },
    });
    expect(outcome).toEqual({ kind: "refused", path, detail: "there are files that could not be examined" });
  });
});
