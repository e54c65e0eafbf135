/**
 * Owns what a commit's checkout needs besides the repository's own mirror: a mirror of every submodule that has its
 * commit, and the contents that Git LFS has. A checkout is asked for with all of them, or not at all.
 *
 * Invariants:
 * 1. A submodule's URL is judged by the policy of upstreams, wherever it stands, before anybody is asked for it; its
 *    credential is the one of its own URL.
 * 2. At most one call upstream per URL runs at a time, and only for a commit that its mirror lacks.
 * 3. Recursion ends: by depth, by number, and where an upstream is its own submodule's.
 */
import { createHash } from "node:crypto";
import { asFailure, Failure } from "../../domain/failure.js";
import { lfsSource } from "../../domain/lfs.js";
import type { Repository } from "../../domain/repository.js";
import { type CommitContents, type Submodule, submoduleUrl } from "../../domain/submodule.js";
import type { Credentials } from "../../ports/credentials.js";
import type { CheckoutTarget, GitEngine, Resolved, SubmoduleTarget } from "../../ports/git-engine.js";
import type { Logger } from "../../ports/logger.js";
import type { Registry } from "../leases/registry.js";
import type { MirrorLimits, Mirrors } from "../mirrors/mirrors.js";
import type { Places } from "../places.js";

export interface SubmodulesDependencies {
  readonly git: GitEngine;
  readonly mirrors: Mirrors;
  readonly registry: Registry;
  readonly credentials: Credentials;
  readonly places: Places;
  readonly limits: MirrorLimits;
  readonly log: Logger;
}

const deepest = 10;
const mostInAll = 1_000;
const mostKnown = 5_000;

/** What a commit's checkout needs. */
interface Needs {
  readonly lfs: boolean;
  readonly submodules: readonly SubmoduleTarget[];
}

/** What one superproject's submodules have come to, on the way down. */
interface Descent {
  /** Of the repository itself, then of each submodule on the way. */
  readonly urls: readonly string[];
  /** For people: `lib/mid/deep`. */
  readonly path: string;
  readonly budget: { left: number };
  readonly repositoryId: number;
}

export class Submodules {
  readonly #deps: SubmodulesDependencies;
  readonly #contents = new Map<string, Promise<CommitContents>>();
  /** By URL. */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** `<mirror> <commit>` that were found there by this process. */
  readonly #present = new Set<string>();
  readonly #whole = new Set<string>();

  constructor(deps: SubmodulesDependencies) {
    this.#deps = deps;
  }

  /** What to check out for a commit, everything that it needs being at hand. Tells the repository's problem where it is not. */
  async target(repository: Repository, resolved: Resolved): Promise<CheckoutTarget> {
    const { mirrors, places } = this.#deps;
    const target: CheckoutTarget = { ...resolved, tracking: resolved.head !== "" };
    if (resolved.commit === "") return target;
    const descent: Descent = {
      urls: [repository.url],
      path: "",
      budget: { left: mostInAll },
      repositoryId: repository.id,
    };
    try {
      const mirror = places.mirror(repository);
      const { lfs, submodules } = await this.#of(mirror, resolved.commit, repository.credential, descent);
      mirrors.tellProblem(repository, resolved, "");
      return { ...target, ...(lfs ? { lfs } : {}), ...(submodules.length > 0 ? { submodules } : {}) };
    } catch (error) {
      const failure = asFailure(error);
      if (isUpstreams(failure)) mirrors.tellProblem(repository, resolved, failure.message);
      throw failure;
    }
  }

  async #of(mirror: string, commit: string, credential: string, descent: Descent): Promise<Needs> {
    const contents = await this.#examine(mirror, commit);
    const { submodules, problem, lfsFiles } = contents;
    const where = descent.path === "" ? "" : `submodule ${JSON.stringify(descent.path)}: `;
    if (problem !== "") throw notAllowed(`${where}its .gitmodules is refused: ${problem}`);
    if (lfsFiles > 0) {
      try {
        await this.#bringLfs(mirror, commit, credential, descent, contents);
      } catch (error) {
        const files = lfsFiles === 1 ? "1 file" : `${lfsFiles} files`;
        throw told(asFailure(error), `${where}uses Git LFS (${files}), which could not be had: `, {});
      }
    }
    const targets: SubmoduleTarget[] = [];
    for (const submodule of submodules) {
      const path = descent.path === "" ? submodule.path : `${descent.path}/${submodule.path}`;
      try {
        targets.push(await this.#one(submodule, { ...descent, path }));
      } catch (error) {
        throw named(asFailure(error), path);
      }
    }
    return { lfs: lfsFiles > 0, submodules: targets };
  }

  async #bringLfs(
    mirror: string,
    commit: string,
    name: string,
    { urls, repositoryId }: Descent,
    contents: CommitContents,
  ): Promise<void> {
    // a repository that was removed and registered again has another mirror at the same place
    const key = `lfs ${repositoryId} ${mirror} ${commit}`;
    if (this.#present.has(key)) return;
    const url = urls.at(-1) as string;
    const source = lfsSource(url, contents.lfsUrl);
    if (typeof source === "string") throw notAllowed(source);
    const { git, credentials, limits } = this.#deps;
    const credential = await credentials.forUrl(url, name);
    const request = { mirror, source, objects: contents.lfsObjects, deadlineMs: limits.cloneMs };
    await git.fetchLfs({ ...request, ...(credential ? { credential } : {}) });
    this.#present.add(key);
  }

  async #one(submodule: Submodule, descent: Descent): Promise<SubmoduleTarget> {
    const { registry, places } = this.#deps;
    const { name, path, commit, update } = submodule;
    if (--descent.budget.left < 0) throw notAllowed(`there are more than ${mostInAll} submodules`);
    const base = descent.urls.at(-1) as string;
    const text = submodule.url === "" ? undefined : submoduleUrl(base, submodule.url);
    if (text === undefined) throw notAllowed(submodule.url === "" ? "it has no URL" : "its URL climbs too far");
    const { url, credential } = await registry.submodule(text, base);
    if (update === "none") return { name, path, url, commit, update, mirror: "", lfs: false, submodules: [] };
    if (descent.urls.includes(url)) throw notAllowed("it is a submodule of itself");
    if (descent.urls.length > deepest) throw notAllowed(`submodules are nested more than ${deepest} deep`);
    const mirror = places.submodule(mirrorName(url));
    await this.#ensure(url, credential, mirror, commit);
    const needs = await this.#of(mirror, commit, credential, { ...descent, urls: [...descent.urls, url] });
    return { name, path, url, commit, update, mirror, ...needs };
  }

  #examine(mirror: string, commit: string): Promise<CommitContents> {
    const key = `${mirror} ${commit}`;
    const known = this.#contents.get(key);
    if (known) return known;
    const found = this.#deps.git.examineCommit(mirror, commit);
    this.#contents.set(key, found);
    found.catch(() => this.#contents.delete(key));
    for (const oldest of this.#contents.keys()) {
      if (this.#contents.size <= mostKnown) break;
      this.#contents.delete(oldest);
    }
    return found;
  }

  /** Invariant 2. */
  async #ensure(url: string, credential: string, mirror: string, commit: string): Promise<void> {
    const key = `${mirror} ${commit}`;
    if (this.#present.has(key)) return;
    const before = this.#turns.get(url) ?? Promise.resolve();
    const turn = before.catch(() => {}).then(() => this.#bring(url, credential, mirror, commit));
    this.#turns.set(url, turn);
    try {
      await turn;
    } finally {
      if (this.#turns.get(url) === turn) this.#turns.delete(url);
    }
    if (this.#present.size > mostKnown) this.#present.clear();
    this.#present.add(key);
  }

  async #bring(url: string, credentialName: string, mirror: string, commit: string): Promise<void> {
    const { git, credentials, places, limits, log } = this.#deps;
    if (!this.#whole.has(mirror) && (await git.inspectMirror(mirror))) this.#whole.add(mirror);
    const exists = this.#whole.has(mirror);
    if (exists && (await this.#has(mirror, commit))) return;
    const start = performance.now();
    const credential = await credentials.forUrl(url, credentialName);
    const access = { path: mirror, url, ...(credential ? { credential } : {}) };
    try {
      if (exists) await git.fetchMirror({ ...access, extraRefs: [], deadlineMs: limits.fetchMs });
      else await git.cloneMirror({ ...access, staging: places.staging, deadlineMs: limits.cloneMs });
    } catch (error) {
      this.#whole.delete(mirror);
      throw error;
    }
    this.#whole.add(mirror);
    log.info({ url, made: !exists, ms: Math.round(performance.now() - start) }, "mirror of a submodule is up to date");
    if (await this.#has(mirror, commit)) return;
    throw new Failure("REVISION_NOT_FOUND", `no branch or tag of its upstream reaches commit ${commit}`, {
      metadata: { revision: commit },
    });
  }

  async #has(mirror: string, commit: string): Promise<boolean> {
    try {
      await this.#deps.git.resolve(mirror, commit);
      return true;
    } catch (error) {
      if (asFailure(error).reason === "REVISION_NOT_FOUND") return false;
      throw error;
    }
  }
}

/** The last segment of a URL, for people, and a digest of the whole, which tells it from others. */
function mirrorName(url: string): string {
  const digest = createHash("sha256").update(url).digest("hex").slice(0, 24);
  const last = url.split(/[/:]/).at(-1) ?? "";
  const word = last
    .replace(/\.git$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9_-]/g, "")
    .slice(0, 40);
  return `${word || "submodule"}-${digest}`;
}

function notAllowed(message: string): Failure {
  return new Failure("UPSTREAM_NOT_ALLOWED", message);
}

/** The innermost submodule is named; its superprojects are in its path. */
function named(failure: Failure, path: string): Failure {
  if (failure.metadata.submodule !== undefined) return failure;
  const prefix = failure.message.startsWith("submodule ") ? "" : `submodule ${JSON.stringify(path)}: `;
  return told(failure, prefix, { submodule: path });
}

/** The same with more words, where it is an upstream's. */
function told(failure: Failure, prefix: string, more: Readonly<Record<string, string>>): Failure {
  if (!isUpstreams(failure)) return failure;
  const { reason, retryAfterMs, cause } = failure;
  return new Failure(reason, prefix + failure.message, {
    metadata: { ...failure.metadata, ...more },
    cause,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** What is wrong with the repository or its upstreams, not with this server. */
function isUpstreams({ reason }: Failure): boolean {
  return reason.startsWith("UPSTREAM_") || reason === "REVISION_NOT_FOUND";
}
