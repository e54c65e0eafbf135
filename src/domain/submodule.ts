/**
 * Owns what a commit says of its submodules, and which of it is believed.
 *
 * Invariants:
 * 1. A name that is accepted is a place below `.git/modules`, and no two names are one inside the other.
 * 2. A relative URL is resolved as git does; whether the result is allowed is for the policy of upstreams to say.
 */
import type { LfsObject } from "./lfs.js";

/** A submodule of a commit: an entry of `.gitmodules` whose path is a gitlink of the tree. */
export interface Submodule {
  readonly name: string;
  /** In its superproject. */
  readonly path: string;
  /** As written; empty if there is none. */
  readonly url: string;
  /** Full commit id. */
  readonly commit: string;
  /** How `git submodule update` is to treat it: empty, `none`, `checkout`, `rebase` or `merge`. */
  readonly update: string;
}

/** What of a commit a checkout alone does not bring. */
export interface CommitContents {
  readonly submodules: readonly Submodule[];
  /** In words, why its `.gitmodules` is not believed; empty if it is. */
  readonly problem: string;
  /** Files that Git LFS has the contents of. */
  readonly lfsFiles: number;
  /** Their contents, each once. */
  readonly lfsObjects: readonly LfsObject[];
  /** `lfs.url` of its `.lfsconfig`; empty if there is none. */
  readonly lfsUrl: string;
}

const longestName = 255;

/** In words, what is wrong with a submodule's name; undefined if nothing is. */
export function nameFault(name: string): string | undefined {
  if (name === "" || name.length > longestName) return "is empty or too long";
  if (/[\u0000-\u001f\u007f\\]/.test(name)) return "has control characters or a backslash";
  if (name.startsWith("-")) return "begins with '-'";
  const parts = name.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..")) return "leads out of .git/modules";
  if (parts.some((part) => part.toLowerCase() === ".git")) return "has a part that is .git";
  return undefined;
}

/** The first name that is another one, or lies inside another one's git directory, on any file system. */
export function conflictingName(names: readonly string[]): string | undefined {
  const sorted = names
    .map((name) => ({ name, key: `${name.toLowerCase()}/` }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  return sorted.find(({ key }, at) => at > 0 && key.startsWith((sorted[at - 1] as { key: string }).key))?.name;
}

/** `url` as seen from a superproject whose upstream is `base`, a normal form. Undefined if it climbs out of it. */
export function submoduleUrl(base: string, url: string): string | undefined {
  if (!/^\.\.?\//.test(url)) return url;
  let remote = base.replace(/\/+$/, "");
  let rest = url;
  let separator = "/";
  for (;;) {
    if (rest.startsWith("../")) {
      rest = rest.slice(3);
      const slash = remote.lastIndexOf("/");
      const colon = remote.lastIndexOf(":");
      if (slash >= 0) remote = remote.slice(0, slash);
      else if (colon >= 0) {
        remote = remote.slice(0, colon);
        separator = ":";
      } else return undefined;
    } else if (rest.startsWith("./")) rest = rest.slice(2);
    else break;
  }
  return `${remote}${separator}${rest}`.replace(/\/+$/, "");
}
