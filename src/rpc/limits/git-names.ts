/**
 * Owns which texts can name a revision or a branch, after git-check-ref-format.
 *
 * Invariants:
 * 1. What passes is never taken for an option, a path, a range or an expression by any git program.
 */

const forbidden = /[ ~^:?*[\\\p{Cc}]/u;

/** What is wrong with a revision: a branch, a tag, a full ref or a commit id. Undefined if nothing is. */
export function revisionFault(name: string): string | undefined {
  if (name.startsWith("-")) return "begins with '-'";
  if (name.includes("..")) return "has '..'";
  if (name.includes("@{")) return "has '@{'";
  if (forbidden.test(name)) return "has a space or one of ~^:?*[\\";
  if (name.startsWith("/") || name.endsWith("/") || name.includes("//")) return "has an empty part";
  if (name.endsWith(".")) return "ends with '.'";
  for (const part of name.split("/")) {
    if (part.startsWith(".")) return "has a part that begins with '.'";
    if (part.endsWith(".lock")) return "has a part that ends with '.lock'";
  }
  return undefined;
}

/** What is wrong with the name of a new branch, given without `refs/heads/`. */
export function branchFault(name: string): string | undefined {
  if (name === "HEAD" || name === "@") return "is a name that git keeps for itself";
  return revisionFault(name);
}
