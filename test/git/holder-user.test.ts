/** The two-uid layout: what the holders' user can do, and what it cannot make the server do. As root only. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CheckoutTarget } from "../../src/ports/git-engine.js";
import { useProcesses, whenGrown } from "../support/processes.js";
import { UpstreamRepository } from "../support/repositories.js";
import { Bench, listing, Site, state } from "./support.js";

const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stdout.write("test/git/holder-user.test.ts: skipped, it needs root to have a second user\n");
/** Needs no entry in the list of users. */
const holder = { uid: 61_234, gid: 61_234 };
const processes = useProcesses();
let bench: Bench;
let site: Site;
let target: CheckoutTarget;

/** Runs a script as the holders' user; `$1` and on are `args`. Answers its output, or throws with what it complained of. */
function asHolder(script: string, ...args: string[]): string {
  const env = { PATH: process.env.PATH, HOME: "/nonexistent", GIT_CONFIG_NOSYSTEM: "1" };
  const who = ["author", "committer"].flatMap((one) => [
    [`GIT_${one.toUpperCase()}_NAME`, "Ada"],
    [`GIT_${one.toUpperCase()}_EMAIL`, "ada@example.com"],
  ]);
  return execFileSync("/bin/sh", ["-c", script, "sh", ...args], {
    ...holder,
    cwd: "/",
    env: { ...env, ...Object.fromEntries(who) },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Everything of a directory that anybody could have changed. */
function fingerprint(path: string): string[] {
  const { mode, uid, gid, ctimeMs, nlink } = lstatSync(path);
  const own = `${path} ${mode} ${uid} ${gid} ${ctimeMs} ${nlink}`;
  if (lstatSync(path).isDirectory())
    return [own, ...readdirSync(path).flatMap((name) => fingerprint(join(path, name)))];
  return [`${own} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`];
}

async function clean(more: { fromScratch?: boolean } = {}) {
  const outcome = await site.clean(target.commit, target, more);
  await bench.engine.emptyTrash(bench.trash);
  return outcome;
}

const verify = (deep = true) => {
  const { mirror, path, origin, trustedIndex } = site;
  return bench.engine.verifyWorkspace({ mirror, path, origin, trustedIndex, target, deep });
};

beforeEach(async () => {
  if (!isRoot) return;
  bench = new Bench({ holder });
  chmodSync(bench.directory.path, 0o711);
  for (const name of ["mirrors", "indexes", "trash", "salvages"]) mkdirSync(bench.at(name), { mode: 0o700 });
  const upstream = new UpstreamRepository(bench.at("upstream"));
  upstream.commit("one", {
    "src/deep/main.txt": "one\n",
    "src/other.txt": "two\n",
    run: { run: "#!/bin/sh\n" },
    link: { link: "src/other.txt" },
    ".gitattributes": "*.crlf text eol=crlf\n",
    "lines.crlf": "a\nb\n",
    ".gitignore": "*.log\n",
  });
  site = new Site(bench, await bench.mirror(upstream.path, "mirrors/m"), upstream.path, "w1");
  target = await site.prepare();
});
afterEach(async () => {
  if (isRoot) await bench.close();
});

describe.skipIf(!isRoot)("the holders' user", () => {
  it("G4 owns its workspace, and git takes it for its own", async () => {
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
    "G4 cannot look into %s, nor change it",
    (name) => {
      const path = bench.at(name);
      for (const script of ['ls "$1"', 'cat "$1"', 'touch "$1/x"', 'rm -rf "$1" || ls "$1"', 'mv "$1" "$1.x"'])
        expect(() => asHolder(script, path), script).toThrow(/denied/i);
    },
  );

  it("G4 shares packs with the mirror that it can neither write to nor make writable", () => {
    const [pack = ""] = asHolder('ls "$1"/.git/objects/pack/*.pack', site.path).split("\n");
    expect(lstatSync(pack)).toMatchObject({ uid: 0, nlink: 2 });
    for (const script of ['echo x >> "$1"', 'chmod u+w "$1"', 'truncate -s 0 "$1"', 'chown 61234 "$1"'])
      expect(() => asHolder(script, pack), script).toThrow(/denied|not permitted/i);
    // its own directory is: a gc replaces its packs, and the mirror's stay
    const mirrored = fingerprint(bench.at("mirrors/m.git")).map((line) => line.replace(/ \d+(\.\d+)? \d+ /, " "));
    asHolder('cd "$1" && git gc -q --prune=now && git repack -q -a -d -f && rm -f .git/objects/pack/*', site.path);
    const after = fingerprint(bench.at("mirrors/m.git")).map((line) => line.replace(/ \d+(\.\d+)? \d+ /, " "));
    expect(after).toEqual(mirrored);
  });

  it("G4 finds what a move to another commit writes its own", async () => {
    writeFileSync(join(site.origin, "src/new.txt"), "new\n");
    const upstream = new UpstreamRepository(site.origin);
    upstream.commit("two", { "src/deep/main.txt": "changed\n" });
    await bench.fetch(site.mirror, site.origin);
    target = await site.prepare("", { from: target.commit });
    expect(await verify()).toMatchObject({ kind: "pristine" });
    expect(asHolder('cd "$1" && git status --porcelain --ignored && cat src/new.txt', site.path)).toBe("new\n");
  });
});

/** `$1`: the workspace, `$2`: a directory of the user's own outside, `$3`: what only root may enter, `$4`: what all may read. */
const mischief: readonly (readonly [string, string])[] = [
  ["takes all rights from everything", 'chmod -R 000 "$1"'],
  ["makes everything setuid and writable for all", 'chmod -R 6777 "$1"'],
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
  let places: string[];

  beforeEach(() => {
    for (const name of ["own", "secret", "public"]) {
      mkdirSync(bench.at(name, "deep"), { recursive: true });
      for (const file of ["main.txt", "other.txt", "mine", "deep/main.txt", "config"])
        writeFileSync(bench.at(name, file), name);
    }
    chmodSync(bench.at("secret"), 0o700);
    execFileSync("chown", ["-R", "61234:61234", bench.at("own")]);
    places = ["own", "secret", "public"].map((name) => bench.at(name));
    canaries = places.slice(1).flatMap(fingerprint);
  });

  const contents = () => listing(bench.at("own"));

  it.each(mischief)("G4 is cleaned where it %s, and nothing outside is touched", async (_what, script) => {
    const mine = contents();
    asHolder(script, site.path, ...places);
    await clean();
    expect(await verify()).toEqual({ kind: "pristine", files: 7 });
    expect(state(site.path)).toEqual(state(site.reference(target)));
    expect([contents(), places.slice(1).flatMap(fingerprint)]).toEqual([mine, canaries]);
    expect(readdirSync(bench.trash)).toEqual([]);
  });

  it("G4 is cleaned and removed where it holds files of others, which a container can leave", async () => {
    mkdirSync(join(site.path, "src/roots/deep"), { recursive: true, mode: 0o700 });
    writeFileSync(join(site.path, "src/roots/deep/file"), "root's");
    writeFileSync(join(site.path, "run"), "root's");
    execFileSync("chown", ["root", join(site.path, "run")]);
    await clean();
    expect(await verify()).toEqual({ kind: "pristine", files: 7 });
    expect(readdirSync(bench.trash)).toEqual([]);
  });

  it("G4 is found to differ where a file or a directory is not the user's", async () => {
    execFileSync("chown", ["-h", "root", join(site.path, "src"), join(site.path, ".git/config")]);
    const found = await verify();
    expect(found).toMatchObject({
      kind: "differs",
      findings: ["src: belongs to another user", ".git/config: belongs to another user"],
    });
  });

  it("G4 is of no use where it is of another layout", async () => {
    expect(await bench.engine.workspaceExists(site.path)).toBe(true);
    execFileSync("chown", ["root", site.path]);
    expect(await bench.engine.workspaceExists(site.path)).toBe(false);
  });

  it("G2 is not salvaged by more rights than the user has", async () => {
    // as where the kernel lets everybody make hard links to what they cannot read
    linkSync(bench.at("secret/main.txt"), join(site.path, "stolen"));
    chmodSync(bench.at("secret/main.txt"), 0o600);
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
    const outcome = await bench.engine.salvageWork({
      mirror,
      candidates: [path],
      from: target.commit,
      trustedIndex,
      report,
      salvages: bench.at("salvages/r.git"),
      limits: { fileBytes: 1e8, totalBytes: 1e9 },
    });
    expect(outcome).toEqual({ kind: "refused", path, detail: "there are files that could not be examined" });
  });

  it("G4 cannot be swapped under the server's hands: 50 cleanings, and removals, beside a process that does", async () => {
    const progress = bench.at("own/progress");
    const script = `
      const fs = require("fs"), [own, secret, open] = process.argv.slice(1);
      const attempt = (work) => { try { work(); } catch {} };
      const swap = (name, to) => {
        attempt(() => fs.renameSync(name, name + ".real"));
        attempt(() => fs.symlinkSync(to, name));
        attempt(() => fs.rmSync(name));
        attempt(() => fs.renameSync(name + ".real", name));
      };
      for (let round = 0; ; round++) {
        for (const to of [secret, open]) {
          swap("src", to); swap("src/deep", to); swap("junk/a", to); swap(".git", to); swap(".git/objects", to);
          attempt(() => fs.mkdirSync("junk/a/deep", { recursive: true }));
          for (const name of ["main.txt", "other.txt", "mine", "deep/main.txt"]) attempt(() => fs.writeFileSync("junk/a/" + name, "x"));
        }
        if (round % 20 === 0) fs.appendFileSync(own + "/progress", "x");
      }`;
    let cleaned = 0;
    for (let round = 0; round < 50; round++) {
      const pid = processes.run(process.execPath, ["-e", script, ...places], { ...holder, cwd: site.path });
      await whenGrown(progress, 1);
      // in place, as where the process has not been found; what fails is made from scratch, as the service would
      const isClean = await clean().then(
        () => true,
        () => false,
      );
      if (isClean) cleaned += 1;
      process.kill(-pid, "SIGKILL");
      await clean({ fromScratch: true });
      expect(await verify()).toEqual({ kind: "pristine", files: 7 });
    }
    process.stdout.write(`cleaned in place beside a swapping process: ${cleaned} of 50\n`);
    expect(places.slice(1).flatMap(fingerprint)).toEqual(canaries);
  }, 120_000);
});
