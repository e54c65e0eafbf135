/**
 * Owns what a forge tells of by itself, in the service's own words, and which repositories and subjects that is about.
 *
 * Invariant: a project's repositories are those whose URL is below the forge's own host; what a message says of other
 * places is not looked at, so that whoever may sign for one forge can say nothing of another.
 */
import { type Forge, plainUrl, type Subject } from "./subject.js";
import { parseUpstream } from "./upstream-url.js";

export type ForgeEvent =
  /** What became of an issue or a pull request. */
  | {
      readonly kind: "subject";
      readonly project: string;
      readonly subject: Subject["kind"];
      readonly number: number;
      readonly state: "OPEN" | "CLOSED" | "MERGED";
    }
  | { readonly kind: "branch-deleted"; readonly project: string; readonly branch: string }
  /** References other than a deleted branch have changed. */
  | { readonly kind: "push"; readonly project: string };

/**
 * All plain URLs that a subject may have in sessions. Issues and pull requests share their numbers but on GitLab, and the
 * others send from one page to the other.
 */
export function subjectUrls(forge: Forge, event: Extract<ForgeEvent, { kind: "subject" }>): readonly string[] {
  const { project, number, subject } = event;
  const gitlab = subject === "ISSUE" ? ["issues", "work_items"] : ["merge_requests"];
  const sections = forge.kind === "gitlab" ? gitlab : ["issues", "pulls", "pull"];
  return sections.map((section) => plainUrl(forge, project, section, number));
}

/** Whether a registered URL is of this project: on the forge's host, over any protocol, with or without `.git`. */
export function isOfProject(url: string, forgeUrl: string, project: string): boolean {
  const place = placeOf(url);
  if (!place) return false;
  const forge = new URL(forgeUrl);
  const root = forge.pathname.replace(/\/+$/, "");
  const path = place.path
    .replace(/\/+$/, "")
    .replace(/\.git$/, "")
    .toLowerCase();
  const name = project.toLowerCase();
  if (place.scheme === "ssh") return place.host === forge.hostname && path === `/${name}`;
  return place.host === forge.host && path === `${root.toLowerCase()}/${name}`;
}

/** Name of the forge that a registered URL is on; empty if that is none of them, or if its host alone does not tell which. */
export function forgeOf(url: string, forges: readonly Forge[]): string {
  const place = placeOf(url);
  if (!place) return "";
  const sites = forges.map(({ name, url: site }) => ({ name, site: new URL(site) }));
  if (place.scheme === "ssh") {
    const [only, ...others] = sites.filter(({ site }) => site.hostname === place.host);
    return others.length === 0 ? (only?.name ?? "") : "";
  }
  const under = ({ site }: (typeof sites)[number]) =>
    site.host === place.host &&
    `${place.path}/`.toLowerCase().startsWith(`${site.pathname.replace(/\/+$/, "")}/`.toLowerCase());
  const [closest] = sites.filter(under).sort((a, b) => b.site.pathname.length - a.site.pathname.length);
  return closest?.name ?? "";
}

/** `host`: with its port for http(s), where that is the forge itself; without it for ssh, which has a port of its own. */
function placeOf(
  text: string,
): { readonly scheme: "web" | "ssh"; readonly host: string; readonly path: string } | undefined {
  const parsed = parseUpstream(text);
  if (parsed.kind !== "ok" || parsed.scheme === "local") return undefined;
  if (!/^[a-z]+:\/\//.test(parsed.url)) {
    const [, host = "", path = ""] = /^(?:[^@/:]+@)?([^@/:]+):\/?(.+)$/.exec(parsed.url) ?? [];
    return { scheme: "ssh", host, path: `/${path}` };
  }
  const url = new URL(parsed.url);
  if (parsed.scheme === "ssh") return { scheme: "ssh", host: url.hostname, path: url.pathname };
  return { scheme: "web", host: url.host, path: url.pathname };
}
