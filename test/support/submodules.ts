/** Owns: upstreams with submodules, made with the real git. */
import { Upstream } from "./upstream.js";

const allowLocal = ["-c", "protocol.file.allow=always"];

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
  await addSubmodule(mid, "../inner.git", "deep/inner");
  const top = await Upstream.make(directory, "top");
  await addSubmodule(top, "../mid.git", "lib/mid", "odd/name");
  return { directory, inner, mid, top };
}

/** Commits a submodule at its upstream's tip. Answers the commit. */
export async function addSubmodule(upstream: Upstream, url: string, path: string, name = path): Promise<string> {
  await upstream.git(...allowLocal, "submodule", "--quiet", "add", "--name", name, url, path);
  return upstream.commit({}, `Add ${path}`);
}

/** Takes a submodule to its upstream's tip, and commits that. */
export async function advance(upstream: Upstream, path: string): Promise<string> {
  await upstream.git(...allowLocal, "submodule", "--quiet", "update", "--remote", "--init", path);
  return upstream.commit({}, `Advance ${path}`);
}
