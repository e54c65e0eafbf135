/** Owns what the tests of the two-uid layout share: an engine for a second user, and that user's own hand. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckoutTarget, CleanOutcome } from "../../src/ports/git-engine.js";
import { UpstreamRepository } from "../support/repositories.js";
import { Bench, Site } from "./support.js";

export const isRoot = process.getuid?.() === 0;
/** Needs no entry in the list of users. */
export const holder = { uid: 61_234, gid: 61_234 };

/** Runs a script as the holders' user; `$1` and on are `args`. Answers its output, or throws with what it complained of. */
export function asHolder(script: string, ...args: string[]): string {
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
export function fingerprint(path: string): string[] {
  const { mode, uid, gid, ctimeMs, nlink } = lstatSync(path);
  const own = `${path} ${mode} ${uid} ${gid} ${ctimeMs} ${nlink}`;
  if (lstatSync(path).isDirectory())
    return [own, ...readdirSync(path).flatMap((name) => fingerprint(join(path, name)))];
  return [`${own} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`];
}

/** A mirror, and workspaces of it that belong to the second user. */
export class Scene {
  readonly bench = new Bench({ holder });
  mirror = "";
  origin = "";
  /** How many files the upstream's commit has. */
  readonly files = 5;
  private count = 0;

  async open(): Promise<this> {
    chmodSync(this.bench.directory.path, 0o711);
    for (const name of ["mirrors", "indexes", "trash", "salvages"]) mkdirSync(this.bench.at(name), { mode: 0o700 });
    const upstream = new UpstreamRepository(this.bench.at("upstream"));
    upstream.commit("one", {
      "src/deep/main.txt": "one\n",
      "src/other.txt": "two\n",
      run: { run: "#!/bin/sh\n" },
      link: { link: "src/other.txt" },
      ".gitignore": "*.log\n",
    });
    this.origin = upstream.path;
    this.mirror = await this.bench.mirror(upstream.path, "mirrors/m");
    return this;
  }

  async workspace(): Promise<{ site: Site; target: CheckoutTarget }> {
    const site = new Site(this.bench, this.mirror, this.origin, `w${++this.count}`);
    return { site, target: await site.prepare() };
  }

  async clean(site: Site, target: CheckoutTarget, more: { fromScratch?: boolean } = {}): Promise<CleanOutcome> {
    const outcome = await site.clean(target.commit, target, more);
    await this.bench.engine.emptyTrash(this.bench.trash);
    return outcome;
  }

  verify({ mirror, path, origin, trustedIndex }: Site, target: CheckoutTarget) {
    return this.bench.engine.verifyWorkspace({ mirror, path, origin, trustedIndex, target, deep: true });
  }

  /** Directories outside: the user's own, one that only root may enter, one that all may read. */
  outside(name: string): readonly [string, string, string] {
    const places = ["own", "secret", "public"].map((kind) => this.bench.at("outside", name, kind));
    for (const place of places) {
      mkdirSync(join(place, "deep"), { recursive: true });
      for (const file of ["main.txt", "other.txt", "mine", "deep/main.txt", "config"])
        writeFileSync(join(place, file), place);
    }
    const [own = "", secret = "", open = ""] = places;
    chmodSync(secret, 0o700);
    execFileSync("chown", ["-R", `${holder.uid}:${holder.gid}`, own]);
    return [own, secret, open];
  }
}
