/**
 * Owns which URLs an upstream may have, and their one normal form: URLs of one normal form are one repository.
 *
 * Invariants:
 * 1. The normal form has no password, and no user for http(s).
 * 2. It cannot be taken for an option or for a transport helper (`ext::`), whatever reads it.
 */

export type UpstreamScheme = "https" | "http" | "ssh" | "local";

export type ParsedUpstream =
  | { readonly kind: "ok"; readonly url: string; readonly scheme: UpstreamScheme }
  /** It is no URL that could be allowed anywhere; `problem` says why. */
  | { readonly kind: "invalid"; readonly problem: string }
  /** Its scheme is one that no configuration allows. */
  | { readonly kind: "scheme"; readonly scheme: string };

const allowedSchemes = "https, http, ssh, user@host:path, an absolute path, or file://";

/** Normalises: lower-case scheme and host, no default port, no trailing slashes, `file://` as a path. */
export function parseUpstream(text: string): ParsedUpstream {
  if (/[\u0000-\u0020\u007f]/.test(text)) return invalid("has spaces or control characters");
  if (text.startsWith("-")) return invalid("begins with '-'");
  const helper = /^([a-zA-Z0-9]+)::/.exec(text);
  if (helper) return { kind: "scheme", scheme: `${helper[1]}::` };
  if (text.startsWith("/")) return local(text);
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):\/\//.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) return scpLike(text);
  if (scheme === "file") return fileUrl(text);
  if (scheme !== "https" && scheme !== "http" && scheme !== "ssh") return { kind: "scheme", scheme };
  return hostUrl(text, scheme);
}

/** The beginning of URLs, in the normal form that they have; undefined if none can begin so. Without slashes at its end. */
export function normalPrefix(text: string): string | undefined {
  const base = text.replace(/([^/])\/+$/, (slashes, last: string) => (last === ":" ? slashes : last));
  const more = /:\/\/|^\//.test(base) ? "/x" : "x";
  const parsed = parseUpstream(base + more);
  return parsed.kind === "ok" ? parsed.url.slice(0, -more.length) : undefined;
}

/** Whether a name of a repository, or else a URL: no name has a slash or a colon, every URL has one. */
export function looksLikeUrl(text: string): boolean {
  return /[/:\\]/.test(text);
}

function invalid(problem: string): ParsedUpstream {
  return { kind: "invalid", problem };
}

function hostUrl(text: string, scheme: "https" | "http" | "ssh"): ParsedUpstream {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return invalid("is no URL");
  }
  if (url.password)
    return invalid(
      "has a password in it; credentials belong into the server's configuration, by URL prefix or by name",
    );
  if (url.username && scheme !== "ssh") {
    return invalid("has a user in it; credentials belong into the server's configuration, by URL prefix or by name");
  }
  if (url.search || url.hash) return invalid("has a query or a fragment");
  const host = url.hostname.toLowerCase();
  if (!host || host.startsWith("-")) return invalid("has no host");
  const defaultPort = { https: "443", http: "80", ssh: "22" }[scheme];
  const port = url.port && url.port !== defaultPort ? `:${url.port}` : "";
  const user = url.username ? `${url.username}@` : "";
  if (user.startsWith("-")) return invalid("has a user that begins with '-'");
  const path = url.pathname.replace(/\/+$/, "");
  if (!path) return invalid("has no path");
  return { kind: "ok", scheme, url: `${scheme}://${user}${host}${port}${path}` };
}

function scpLike(text: string): ParsedUpstream {
  const match = /^(?:([^@/:]+)@)?([^@/:]+):(.+)$/.exec(text);
  if (!match) return invalid(`is neither a registered name nor a URL; URLs are ${allowedSchemes}`);
  const [, user, host, path] = match as unknown as [string, string | undefined, string, string];
  if (host.startsWith("-") || path.startsWith("-") || user?.startsWith("-"))
    return invalid("has a part that begins with '-'");
  return {
    kind: "ok",
    scheme: "ssh",
    url: `${user ? `${user}@` : ""}${host.toLowerCase()}:${path.replace(/\/+$/, "")}`,
  };
}

function fileUrl(text: string): ParsedUpstream {
  try {
    const url = new URL(text);
    if (url.host && url.host !== "localhost") return invalid("names a host in a file:// URL");
    return local(decodeURIComponent(url.pathname));
  } catch {
    return invalid("is no URL");
  }
}

function local(path: string): ParsedUpstream {
  if (path.split("/").includes("..")) return invalid("has '..' in its path");
  const normal = path
    .replace(/\/{2,}/g, "/")
    .replace(/\/\.(?=\/|$)/g, "")
    .replace(/\/+$/, "");
  return normal ? { kind: "ok", scheme: "local", url: normal } : invalid("has no path");
}
