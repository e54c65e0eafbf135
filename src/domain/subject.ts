/**
 * Owns what a subject is: the issue or pull request of a forge that work is about, found by its page's URL.
 *
 * Invariants:
 * 1. Nothing but the URL's form and the configured forges decides; no forge is asked.
 * 2. A page has one plain URL, however it is spelled: forges know a project by its name in any case, so it is lower-case
 *    there. What the forge itself tells of makes its URLs here, too.
 */
export const forgeKinds = ["forgejo", "gitea", "github", "gitlab"] as const;
export type ForgeKind = (typeof forgeKinds)[number];

/** A forge as it is configured. */
export interface Forge {
  readonly name: string;
  readonly kind: ForgeKind;
  /** Where its pages are, without a slash at the end. */
  readonly url: string;
}

export interface Subject {
  /** The plain one. */
  readonly url: string;
  /** Name of the configured forge. */
  readonly forge: string;
  /** `owner/name`; GitLab's may have more parts. */
  readonly project: string;
  readonly kind: "ISSUE" | "PULL_REQUEST";
  readonly number: number;
}

const numbered = String.raw`([1-9]\d{0,11})(?:[/?#].*)?$`;
const owned = new RegExp(`^([^/?#]+/[^/?#]+)/(issues|pulls?)/${numbered}`);
const grouped = new RegExp(`^([^?#]+?)/-/(issues|work_items|merge_requests)/${numbered}`);

/** The one URL under which a page of a project is known here. */
export function plainUrl(forge: Forge, project: string, section: string, number: number | string): string {
  const between = forge.kind === "gitlab" ? "/-/" : "/";
  return `${forge.url}/${project.toLowerCase()}${between}${section}/${number}`;
}

/** The subject that a URL names on one of the forges; undefined if it names none. */
export function subjectOf(text: string, forges: readonly Forge[]): Subject | undefined {
  const url = text.replace(/^[a-z]+:\/\/[^/?#]*/i, (site) => site.toLowerCase());
  for (const forge of forges) {
    if (!url.startsWith(`${forge.url}/`)) continue;
    const rest = url.slice(forge.url.length + 1);
    const match = (forge.kind === "gitlab" ? grouped : owned).exec(rest);
    if (!match) continue;
    const [, project = "", section = "", number = ""] = match;
    const kind = section === "issues" || section === "work_items" ? "ISSUE" : "PULL_REQUEST";
    return {
      url: plainUrl(forge, project, section, number),
      forge: forge.name,
      project,
      kind,
      number: Number(number),
    };
  }
  return undefined;
}
