/**
 * Owns which upstreams may be registered, by whom, and how a name or URL becomes a repository.
 *
 * Invariant: a URL is allowed before it is stored; one that was allowed once is judged again when a runner names it.
 */
import { type Caller, limitedTo } from "../../domain/caller.js";
import { Failure, type FieldFault } from "../../domain/failure.js";
import { defaultSettings, type Repository, type RepositorySettings } from "../../domain/repository.js";
import { looksLikeUrl, parseUpstream } from "../../domain/upstream-url.js";
import type { Credentials } from "../../ports/credentials.js";
import type { RepositoryStore } from "../../ports/repository-store.js";
import type { CallContext } from "../services.js";

export interface UpstreamPolicy {
  /** Without authentication every caller is an admin of this machine, and everything is allowed. */
  readonly authentication: boolean;
  /** Globs that a URL which a runner names must match; `*` matches anything. */
  readonly allowUrls: readonly string[];
  /** Whether local paths and file:// are allowed at all. */
  readonly allowLocal: boolean;
}

export interface RegistryDependencies {
  readonly repositories: RepositoryStore;
  readonly credentials: Credentials;
  readonly policy: UpstreamPolicy;
}

export class Registry {
  readonly #deps: RegistryDependencies;

  constructor(deps: RegistryDependencies) {
    this.#deps = deps;
  }

  /** The repository that an Acquire names; registers a URL that is allowed and new. */
  async forAcquire(text: string, call: CallContext): Promise<Repository> {
    const { repositories } = this.#deps;
    if (!looksLikeUrl(text)) {
      const repository = await repositories.byName(text);
      if (!repository || repository.removing) throw repositoryNotFound(text);
      return repository;
    }
    const url = this.normalise(text, "repository", call.caller);
    const known = await repositories.byUrl(url);
    if (known && !known.removing) return known;
    if (known) throw repositoryNotFound(text);
    const registered = await repositories.register("", { ...defaultSettings, url });
    return registered.kind === "differs" ? registered.existing : registered.repository;
  }

  /** The normal form of an allowed URL. */
  normalise(text: string, field: string, caller: Caller): string {
    const { policy } = this.#deps;
    const parsed = parseUpstream(text);
    if (parsed.kind === "invalid") throw fieldInvalid({ field, description: `${field} ${parsed.problem}` });
    if (parsed.kind === "scheme") throw notAllowed(`URLs of the scheme ${parsed.scheme} are not allowed`);
    const { url, scheme } = parsed;
    if (scheme === "local" && policy.authentication && !policy.allowLocal)
      throw notAllowed("local paths are not allowed here");
    if (limitedTo(caller) !== undefined && !policy.allowUrls.some((glob) => globMatches(glob, url))) {
      throw notAllowed("this URL is not one that runners may use; ask an operator to register it or to allow it");
    }
    return url;
  }

  /**
   * The normal form of a submodule's URL, if it is allowed, and the name of its credential. Workspaces are shared by
   * callers, so who asks does not matter: with authentication it has to be registered, or one that runners may use.
   * `superproject`: the normal form of the URL whose submodule it is; only a local one may name local paths, as in git.
   */
  async submodule(text: string, superproject: string): Promise<{ readonly url: string; readonly credential: string }> {
    const { policy, repositories } = this.#deps;
    const parsed = parseUpstream(text);
    if (parsed.kind === "invalid") throw notAllowed(`its URL ${parsed.problem}`);
    if (parsed.kind === "scheme") throw notAllowed(`URLs of the scheme ${parsed.scheme} are not allowed`);
    const { url, scheme } = parsed;
    const known = await repositories.byUrl(url);
    if (known && !known.removing) return { url, credential: known.credential };
    if (scheme === "local" && (!superproject.startsWith("/") || (policy.authentication && !policy.allowLocal))) {
      throw notAllowed("its upstream is a local path, which is not allowed here");
    }
    if (policy.authentication && !policy.allowUrls.some((glob) => globMatches(glob, url))) {
      throw notAllowed(`its upstream ${url} is neither registered nor one that runners may use`);
    }
    return { url, credential: "" };
  }

  /** What an Acquire is told whose wait ends before the first mirror is there; undefined if that is not why it waits. */
  async unfinishedMirror({ name }: Repository): Promise<Failure | undefined> {
    const [overview] = await this.#deps.repositories.list("", 1, {}, name);
    const { state = "MIRRORING", progress } = overview?.mirror ?? {};
    if (!overview || state === "READY") return undefined;
    const { receivedObjects = 0, totalObjects = 0 } = progress ?? {};
    const counts = { received_objects: String(receivedObjects), total_objects: String(totalObjects) };
    return new Failure("REPOSITORY_FAILED", "the repository's mirror is still being made", {
      metadata: { repository: name, state, ...counts },
      retryAfterMs: 1_000,
    });
  }

  /** Checks settings that need the server's configuration. */
  checkCredential(settings: Partial<RepositorySettings>): void {
    if (settings.credential && !this.#deps.credentials.has(settings.credential)) {
      throw fieldInvalid({ field: "repository.credential", description: "no credential of that name is configured" });
    }
  }
}

export function repositoryNotFound(name: string): Failure {
  return new Failure("REPOSITORY_NOT_FOUND", `there is no repository ${name}`, { metadata: { repository: name } });
}

export function fieldInvalid(...fields: FieldFault[]): Failure {
  return new Failure("FIELD_INVALID", fields.map((fault) => fault.description).join("; "), { fields });
}

function notAllowed(message: string): Failure {
  return new Failure("UPSTREAM_NOT_ALLOWED", message);
}

function globMatches(glob: string, url: string): boolean {
  const pattern = glob.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${pattern.join(".*")}$`).test(url);
}
