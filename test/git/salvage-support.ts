/** Owns what the tests of salvage share: a workspace to be worked in, its salvage, and looking at that with plain git. */
import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { CheckoutTarget, SalvageOutcome, SalvageRequest } from "../../src/ports/git-engine.js";
import { git } from "../support/repositories.js";
import { type Bench, Site } from "./support.js";

let made = 0;

/** A workspace that a holder works in, and the repository of salvages beside it. */
export class Job {
  readonly bench: Bench;
  readonly site: Site;
  readonly salvages: string;
  target: CheckoutTarget = { commit: "", head: "", tracking: false };

  private constructor(bench: Bench, site: Site, salvages: string) {
    this.bench = bench;
    this.site = site;
    this.salvages = salvages;
  }

  static async start(bench: Bench, mirror: string, origin: string, revision = "", salvages = ""): Promise<Job> {
    made += 1;
    const site = new Site(bench, mirror, origin, `job${made}`);
    const job = new Job(bench, site, salvages || bench.at("salvages", `r${made}.git`));
    job.target = await site.prepare(revision);
    return job;
  }

  get path(): string {
    return this.site.path;
  }

  request(more: Partial<SalvageRequest> = {}): SalvageRequest {
    return {
      mirror: this.site.mirror,
      candidates: [this.path],
      from: this.target.commit,
      trustedIndex: this.site.trustedIndex,
      salvages: this.salvages,
      salvageIgnored: [],
      report: {
        salvageId: `s-${this.site.name}`,
        repository: "demo",
        workspaceId: "demo-1",
        leaseId: "lease-1",
        holder: "Ada",
        caller: "ci",
        reason: "EXPIRED",
      },
      limits: { fileBytes: 100 * 1024 * 1024, totalBytes: 1024 ** 3 },
      ...more,
    };
  }

  salvage(more: Partial<SalvageRequest> = {}): Promise<SalvageOutcome> {
    return this.bench.engine.salvageWork(this.request(more));
  }

  /** Salvages what must be there. */
  async saved(more: Partial<SalvageRequest> = {}): Promise<SalvageOutcome & { kind: "saved" }> {
    const outcome = await this.salvage(more);
    if (outcome.kind !== "saved") throw new Error(JSON.stringify(outcome));
    return outcome;
  }

  /** An empty repository that plain git has fetched the salvage into, and nothing else. */
  fetched(ref: string): string {
    made += 1;
    const path = this.bench.at("fetched", String(made));
    mkdirSync(path, { recursive: true });
    git(path, "init", "-q", "-b", "nothing");
    git(path, "-c", "fetch.fsckObjects=true", "fetch", "-q", this.salvages, `${ref}:refs/heads/salvaged`);
    git(path, "fsck", "--strict", "--connectivity-only");
    return path;
  }

  /** A fresh workspace that the salvage was restored to. */
  async restored(ref: string, revision = ""): Promise<Job> {
    const job = await Job.start(this.bench, this.site.mirror, this.site.origin, revision, this.salvages);
    await this.bench.engine.restoreSalvage({ salvages: this.salvages, ref, path: job.path });
    return job;
  }
}

/** Every file below a directory but `.git`: what git would keep of it, by bytes. Ignored names are left out. */
export function worktree(root: string, ignored = /$^/, below = ""): Record<string, string> {
  const files: Record<string, string> = {};
  for (const raw of readdirSync(Buffer.from(join(root, below)), { encoding: "buffer" })) {
    const name = raw.toString("latin1");
    const path = below === "" ? name : `${below}/${name}`;
    if (name === ".git" || ignored.test(path)) continue;
    const place = Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, "latin1")]);
    const stat = lstatSync(place);
    if (stat.isDirectory()) Object.assign(files, worktree(root, ignored, path));
    else if (stat.isSymbolicLink()) files[path] = `120000 ${readlinkSync(place, "latin1")}`;
    else if (stat.isFile()) files[path] = `${stat.mode & 0o100 ? "100755" : "100644"} ${readFileSync(place, "latin1")}`;
  }
  return files;
}

/** The files of a commit in the same form, read by plain git. */
export function committed(repository: string, revision: string): Record<string, string> {
  const files: Record<string, string> = {};
  const options = { cwd: repository, maxBuffer: 1 << 28 };
  const list = execFileSync("git", ["ls-tree", "-r", "-z", "--full-tree", revision], options).toString("latin1");
  const entries = list.split("\0").flatMap((line) => {
    const [mode = "", type, id = ""] = line.slice(0, line.indexOf("\t")).split(" ");
    return type === "blob" ? [{ path: line.slice(line.indexOf("\t") + 1), mode, id }] : [];
  });
  const input = entries.map(({ id }) => `${id}\n`).join("");
  const contents = execFileSync("git", ["cat-file", "--batch"], { ...options, input });
  let at = 0;
  for (const { path, mode } of entries) {
    const end = contents.indexOf("\n", at);
    const size = Number(contents.toString("latin1", at, end).split(" ")[2]);
    files[path] = `${mode} ${contents.toString("latin1", end + 1, end + 1 + size)}`;
    at = end + size + 2;
  }
  return files;
}

/** The trailers of a salvage that name parents. */
export function parents(repository: string, revision: string): string[] {
  const text = git(repository, "log", "-1", "--format=%(trailers:key=Leasehold-Parent,valueonly)", revision);
  return text.split("\n").filter(Boolean);
}
