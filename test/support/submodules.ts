/** Owns: upstreams with submodules. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Upstream } from "./upstream.js";

export interface NestedUpstreams {
  readonly directory: string;
  readonly inner: Upstream;
  readonly mid: Upstream;
  readonly top: Upstream;
}

/** A repository `top` with a submodule `lib/mid` named `odd/name`, which has `deep/inner`; by relative URLs. */
export async function nestedSubmodules(directory: string): Promise<NestedUpstreams> {
  const inner = await Upstream.make(directory, "inner");
  const mid = await Upstream.make(directory, "mid");
  const top = await Upstream.make(directory, "top");
  await addSubmodule(mid, inner, "../inner.git", "deep/inner");
  await addSubmodule(top, mid, "../mid.git", "lib/mid", "odd/name");
  return { directory, inner, mid, top };
}

/** Commits a submodule at a commit of `of`, its tip by default. Answers the superproject's commit. */
export async function addSubmodule(
  upstream: Upstream,
  of: Upstream,
  url: string,
  path: string,
  name = path,
  revision = "HEAD",
): Promise<string> {
  await upstream.git("config", "--file", ".gitmodules", `submodule.${name}.path`, path);
  await upstream.git("config", "--file", ".gitmodules", `submodule.${name}.url`, url);
  await upstream.git("add", ".gitmodules");
  return pin(upstream, path, await of.git("rev-parse", revision));
}

/** Commits another commit of a submodule. */
export async function pin(upstream: Upstream, path: string, commit: string): Promise<string> {
  await upstream.git("update-index", "--add", "--cacheinfo", `160000,${commit},${path}`);
  return commitIndex(upstream);
}

/** Commits what is in the index: `add --all` would take gitlinks away whose directories are missing. */
export async function commitIndex(upstream: Upstream): Promise<string> {
  await upstream.git("commit", "--quiet", "--message", "Submodules");
  await upstream.git("push", "--quiet", "origin", "HEAD");
  return upstream.git("rev-parse", "HEAD");
}

/** Commits one file, or its removal, and nothing else. */
export async function commitFile(upstream: Upstream, path: string, content: string): Promise<string> {
  const id = await hashed(upstream, content);
  await upstream.git("update-index", "--add", "--cacheinfo", `100644,${id},${path}`);
  return commitIndex(upstream);
}

async function hashed(upstream: Upstream, content: string): Promise<string> {
  const file = join(await upstream.git("rev-parse", "--absolute-git-dir"), "content");
  await writeFile(file, content);
  return upstream.git("hash-object", "-w", "--no-filters", file);
}
