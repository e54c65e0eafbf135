/** Owns the rules of the fields that say what a workspace's dependencies are; `field-limits.ts` puts them in its table. */
import { entryOf, list, type Report, type Rule, text } from "./field-rules.js";

const maxEnvironment = 64;
const environmentKey = /^[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}$/;
const environmentValue = text({ max: 1024 });

export const dependencyManifests = list({ max: 64, each: text({ max: 256, required: true, fault: manifestFault }) });

export const keepPaths = list({ max: 32, each: text({ max: 1024, required: true, fault: keepPathFault }) });

export const environment: Rule<Readonly<Record<string, string>>> = (value, path, report) => {
  const entries = Object.entries(value);
  if (entries.length > maxEnvironment) report(path, `has more than ${maxEnvironment} entries`);
  for (const [key, content] of entries.slice(0, maxEnvironment)) {
    const place = entryOf(path, key);
    if (!environmentKey.test(key)) report(place, "has a key that is not [A-Za-z0-9_][A-Za-z0-9_./-]{0,127}");
    environmentValue(content, place, report);
  }
};

/** What is wrong with the paths together. */
export function checkKeepPaths(paths: readonly string[], manifests: readonly string[], report: Report): void {
  if (paths.length > 0 && manifests.length === 0) report("keep_paths", "needs dependency_manifests");
  const directories = new Set(paths.map((path) => `${path.replace(/\/$/, "")}/`));
  for (const [index, path] of paths.entries()) {
    for (let slash = path.indexOf("/"); slash > 0 && slash < path.length - 1; slash = path.indexOf("/", slash + 1)) {
      if (directories.has(path.slice(0, slash + 1))) return report(`keep_paths[${index}]`, "is below another");
    }
  }
}

function manifestFault(pattern: string): string | undefined {
  if (pattern.startsWith("/")) return "begins with '/'";
  return pattern.split("/").includes("..") ? "has '..'" : undefined;
}

function keepPathFault(path: string): string | undefined {
  if (path.startsWith("/")) return "begins with '/'";
  for (const part of path.replace(/\/$/, "").split("/")) {
    if (part === "") return "has an empty part";
    if (part === "." || part === "..") return "has a part '.' or '..'";
    if (part.toLowerCase() === ".git") return "has a part '.git'";
  }
  return undefined;
}
