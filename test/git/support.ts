/** Owns what the tests of the git engine share: an engine with its directories, and comparing with `git clone`. */
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createGitEngine, type GitEngineOptions } from "../../src/git/engine.js";
import type {
  CheckoutTarget,
  CleanWorkspaceRequest,
  GitEngine,
  PrepareWorkspaceRequest,
  VerifyWorkspaceRequest,
} from "../../src/ports/git-engine.js";
import { git, TemporaryDirectory } from "../support/repositories.js";

export const workerEntry = fileURLToPath(new URL("../../dist/src/git/worker/main.js", import.meta.url));

/** An engine, and a data directory for it. */
export class Bench {
  readonly directory = new TemporaryDirectory();
  readonly engine: GitEngine;
  readonly trash = this.directory.at("trash");

  constructor(options: Partial<GitEngineOptions> = {}) {
    this.engine = createGitEngine({ workerEntry, ...options });
  }

  at(...parts: readonly string[]): string {
    return this.directory.at(...parts);
  }

  /** Mirrors `url` and answers the mirror's path. */
  async mirror(url: string, name = "mirror"): Promise<string> {
    const path = this.at(`${name}.git`);
    await this.engine.cloneMirror({ path, staging: this.at("staging"), url, deadlineMs: 60_000 });
    return path;
  }

  fetch(path: string, url: string, extraRefs: readonly string[] = []) {
    return this.engine.fetchMirror({ path, url, extraRefs, deadlineMs: 60_000 });
  }

  async close(): Promise<void> {
    await this.engine.close();
    this.directory.remove();
  }
}

/** One workspace of one repository, with the requests that concern it. */
export class Site {
  readonly bench: Bench;
  readonly mirror: string;
  readonly origin: string;
  readonly name: string;
  /** Where it is now. */
  path: string;
  private moves = 0;

  constructor(bench: Bench, mirror: string, origin: string, name: string) {
    this.bench = bench;
    this.mirror = mirror;
    this.origin = origin;
    this.name = name;
    this.path = bench.at("workspaces", `${name}.0`);
  }

  get trustedIndex(): string {
    return this.bench.at("indexes", this.name);
  }

  /** What `revision` names, as a target. */
  async target(revision: string): Promise<CheckoutTarget> {
    const { commit, head } = await this.bench.engine.resolve(this.mirror, revision);
    return { commit, head, tracking: head !== "" };
  }

  async prepare(revision = "", more: Partial<PrepareWorkspaceRequest> = {}): Promise<CheckoutTarget> {
    const { mirror, path, origin, trustedIndex } = this;
    const target = await this.target(revision);
    await this.bench.engine.prepareWorkspace({ mirror, path, origin, trustedIndex, target, ...more });
    return target;
  }

  /** Compares it with what a fresh clone would be. */
  verify(target: CheckoutTarget, more: Partial<VerifyWorkspaceRequest> = {}) {
    const { mirror, path, origin, trustedIndex } = this;
    return this.bench.engine.verifyWorkspace({ mirror, path, origin, trustedIndex, target, deep: false, ...more });
  }

  /** Cleans it to a new path. */
  async clean(from: string, target: CheckoutTarget, more: Partial<CleanWorkspaceRequest> = {}) {
    const { mirror, origin, trustedIndex } = this;
    const before = this.path;
    this.moves += 1;
    const path = this.bench.at("workspaces", `${this.name}.${this.moves}`);
    const request = { mirror, origin, trustedIndex, path, candidates: [path, before], trash: this.bench.trash };
    const outcome = await this.bench.engine.cleanWorkspace({ ...request, from, target, ...more });
    this.path = outcome.kind === "clean" ? path : outcome.path;
    return outcome;
  }

  /** A clone made by git itself at the same place: `revision` is a branch or tag, or a commit id. */
  reference(target: CheckoutTarget): string {
    const path = this.bench.at("references", `${this.name}-${++references}`);
    const branch = target.head.slice("refs/heads/".length);
    if (target.head !== "") git(this.bench.directory.path, "clone", "-q", "-b", branch, this.origin, path);
    else {
      git(this.bench.directory.path, "clone", "-q", "--no-checkout", this.origin, path);
      const unwanted = git(path, "branch", "--format=%(refname:short)");
      git(path, "checkout", "-q", "--detach", target.commit);
      git(path, "branch", "-q", "-D", unwanted);
    }
    return path;
  }
}

let references = 0;

/** Every file below `root` but `.git`: kind, permissions and content. Names that are not UTF-8 are told by their bytes. */
export function listing(root: string, below = ""): string[] {
  const lines: string[] = [];
  const place = (path: string): Buffer => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, "latin1")]);
  const names = readdirSync(place(below), { encoding: "buffer" }).map((name) => name.toString("latin1"));
  for (const name of names.sort()) {
    const path = below === "" ? name : `${below}/${name}`;
    if (path === ".git") continue;
    const stat = lstatSync(place(path));
    const mode = (stat.mode & 0o7777).toString(8);
    if (stat.isDirectory()) lines.push(`${path}/ ${mode}`, ...listing(root, path));
    else if (stat.isSymbolicLink()) lines.push(`${path} -> ${readlinkSync(place(path), "latin1")}`);
    else if (stat.isFile()) lines.push(`${path} ${mode} ${digest(place(path))}`);
    else lines.push(`${path} special`);
  }
  return lines;
}

/** What git says of a workspace, for comparing with a reference. */
export function state(path: string) {
  return {
    files: listing(path),
    index: git(path, "ls-files", "-s", "-v"),
    status: git(path, "status", "--porcelain", "--ignored", "--branch"),
    refs: git(path, "for-each-ref", "--format=%(refname) %(objectname) %(symref) %(upstream)"),
    head: readFileSync(join(path, ".git", "HEAD"), "utf8"),
    reflogs: git(path, "reflog", "--format=%H").split("\n")[0],
    stash: git(path, "stash", "list"),
    remotes: git(path, "remote", "-v"),
    problems: git(path, "fsck", "--strict"),
    worktrees: git(path, "worktree", "list", "--porcelain").split("\n").slice(1),
    alternates: readdirSync(join(path, ".git", "objects", "info")),
  };
}

function digest(path: Buffer): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
