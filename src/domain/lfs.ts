/**
 * Owns what of Git LFS is believed: which object a pointer names, and where a repository's objects are asked for.
 *
 * Invariant: only the upstream's own scheme, host and port are asked, whatever a `.lfsconfig` says.
 */

export interface LfsObject {
  /** SHA-256 of the content. */
  readonly oid: string;
  /** In bytes. */
  readonly size: number;
}

/** Where the objects of an upstream are: a server of the batch API, or a directory of this machine. */
export type LfsSource =
  | { readonly kind: "http"; readonly url: string }
  | { readonly kind: "local"; readonly path: string };

/** `url`: the upstream's, in its normal form; `configured`: what `.lfsconfig` says, or empty. A text says why there is none. */
export function lfsSource(url: string, configured: string): LfsSource | string {
  if (url.startsWith("/")) return { kind: "local", path: url };
  if (!/^https?:/.test(url)) return "its upstream is reached by ssh, and Git LFS is fetched by http only";
  const usual = `${url.endsWith(".git") ? url : `${url}.git`}/info/lfs`;
  if (configured === "") return { kind: "http", url: usual };
  let wanted: URL;
  try {
    wanted = new URL(configured);
  } catch {
    return "its .lfsconfig names no URL";
  }
  if (wanted.origin !== new URL(url).origin) return "its .lfsconfig names another host than its upstream's";
  if (wanted.username || wanted.password || wanted.search || wanted.hash) return "its .lfsconfig names an odd URL";
  return { kind: "http", url: wanted.href.replace(/\/+$/, "") };
}
