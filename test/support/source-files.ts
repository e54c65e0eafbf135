/**
 * Owns: the project's own sources as text, and what they import, for tests that check rules about them.
 *
 * 1. Type-only imports and re-exports count like any other.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

/** One file, its path from the checkout's root with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
}

/** `path` is that of a file here, undefined for a package. */
export interface Import {
  readonly specifier: string;
  readonly path: string | undefined;
}

const importForms = [
  /^\s*(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']/gm,
  /^\s*import\s*["']([^"']+)["']/gm,
  /\b(?:import|require)\s*\(\s*["']([^"']+)["']\s*\)/g,
];

/** Every file below the directories whose name ends with one of `endings`. */
export function readSources(directories: readonly string[], endings: readonly string[]): readonly SourceFile[] {
  return directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true, encoding: "utf8" })
      .filter((name) => endings.some((ending) => name.endsWith(ending)))
      .sort()
      .map((name) => readSource(join(directory, name))),
  );
}

function readSource(path: string): SourceFile {
  const text = readFileSync(path, "utf8");
  const specifiers = importForms.flatMap((form) => Array.from(text.matchAll(form), ([, found]) => found as string));
  const imports = specifiers.map((specifier) => ({ specifier, path: resolveImport(path, specifier) }));
  return { path: path.replaceAll("\\", "/"), text, imports };
}

function resolveImport(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) {
    return undefined;
  }
  const path = relative(".", resolve(dirname(from), specifier)).replaceAll("\\", "/");
  return path.replace(/\.js$/, ".ts");
}
