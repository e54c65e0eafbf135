import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readSources, type SourceFile } from "./support/source-files.js";

const sources = readSources(["src"], [".ts"]);
const tests = readSources(["test"], [".ts", ".mjs"]);
const ours = ["bench", "scripts", "setup", "src", "test"].filter((directory) => existsSync(directory));
const everything = readSources(ours, [".ts", ".mjs", ".sh", ".sql"]);

/**
 * What each part of src/ may import besides itself. `gen` is the generated protocol. An adapter (credentials, forge,
 * git, postgres, rpc) never sees another one: only app.ts puts them together.
 */
const layers: Record<string, readonly string[]> = {
  domain: [],
  ports: ["domain"],
  service: ["domain", "ports"],
  credentials: ["domain", "ports"],
  disk: ["domain", "ports"],
  forge: ["domain", "ports"],
  git: ["domain", "ports"],
  postgres: ["domain", "ports"],
  rpc: ["config", "domain", "gen", "log", "ports", "service"],
  client: ["gen"],
  config: ["domain"],
  log: [],
  "data-directory": [],
  "holder-user": ["config", "postgres"],
  app: [
    "config",
    "credentials",
    "data-directory",
    "disk",
    "domain",
    "forge",
    "git",
    "holder-user",
    "log",
    "ports",
    "postgres",
    "rpc",
    "service",
  ],
  cli: ["app", "client", "config", "domain", "gen", "log"],
  main: ["cli"],
};

/** `src/git/engine.ts` is of `git`, `src/log.ts` of `log`, `gen/…` of `gen`. */
function layerOf(path: string): string {
  const [top, second = ""] = path.split("/");
  return top === "src" ? second.replace(/\.ts$/, "") : (top ?? "");
}

/** One line per import that `allowed` does not allow. */
function forbidden(files: readonly SourceFile[], allowed: (file: SourceFile, to: string) => boolean): string[] {
  return files.flatMap((file) =>
    file.imports
      .filter(({ path, specifier }) => !allowed(file, path ?? specifier))
      .map((to) => `${file.path} imports ${to.specifier}`),
  );
}

/** Every import cycle once, as `a.ts -> b.ts -> a.ts`. */
function cycles(files: readonly SourceFile[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const finished = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      found.push([...trail.slice(start), path].join(" -> "));
      return;
    }
    if (finished.has(path)) {
      return;
    }
    for (const { path: next } of byPath.get(path)?.imports ?? []) {
      if (next !== undefined && byPath.has(next)) {
        visit(next, [...trail, path]);
      }
    }
    finished.add(path);
  };
  for (const file of files) {
    visit(file.path, []);
  }
  return found;
}

/** One line per place where a file has what it must not have. */
function matches(files: readonly SourceFile[], pattern: RegExp): string[] {
  return files.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  );
}

describe("the architecture", () => {
  it("has a rule for every part of src, and a part for every rule", () => {
    const parts = new Set(sources.map((file) => layerOf(file.path)));
    expect([...parts].filter((part) => layers[part] === undefined)).toEqual([]);
    expect(Object.keys(layers).filter((layer) => !parts.has(layer))).toEqual([]);
  });

  it("lets imports point down only", () => {
    const allowed = (file: SourceFile, to: string): boolean => {
      const [from, target] = [layerOf(file.path), layerOf(to)];
      return !/^(src|gen|test|bench)\//.test(to) || from === target || (layers[from] ?? []).includes(target);
    };
    expect(forbidden(sources, allowed)).toEqual([]);
  });

  it("names every imported file that is ours", () => {
    const paths = new Set([...sources, ...tests, ...readSources(["gen"], [".ts"])].map((file) => file.path));
    expect(forbidden(sources, (_file, to) => !/^(src|gen)\//.test(to) || paths.has(to))).toEqual([]);
  });

  it("has no import cycle, type-only imports included", () => {
    expect(cycles(sources)).toEqual([]);
  });

  it("keeps nodegit inside the git workers, and the Postgres driver inside the store", () => {
    const homes: Record<string, readonly string[]> = {
      nodegit: ["src/git/worker/"],
      // `leasehold doctor` asks whether DATABASE_URL answers, on a machine where nothing serves yet
      postgres: ["src/postgres/", "src/cli/doctor-checks.ts"],
    };
    const atHome = (file: SourceFile, to: string): boolean =>
      homes[to]?.some((home) => file.path.startsWith(home)) ?? true;
    expect(forbidden(sources, atHome)).toEqual([]);
  });

  it("never calls begin or reserve of the Postgres driver: a dead backend then ends the process", () => {
    expect(matches(sources, /\bsql\s*\.\s*(begin|reserve)\s*[(<]/)).toEqual([]);
    const store = sources.filter((file) => file.path.startsWith("src/postgres/"));
    expect(matches(store, /\.\s*(begin|reserve)\s*[(<]/)).toEqual([]);
  });

  it("destroys nothing of a workspace but through the one door, which salvages first", () => {
    const others = sources.filter(
      ({ path }) => path.startsWith("src/service/") && path !== "src/service/cleaning/salvaging.ts",
    );
    expect(matches(others, /\b(cleanWorkspace|discardWorkspace)\b/)).toEqual([]);
    // nor is a file removed past the engine
    expect(forbidden(others, (_file, to) => !/^node:(fs|child_process)/.test(to))).toEqual([]);
    const door = sources.filter(({ path }) => path === "src/service/cleaning/salvaging.ts");
    expect(matches(door, /\bsalvageWork\b/)).not.toEqual([]);
  });

  it("has no file of more than 300 lines", () => {
    const lengths = everything.map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }));
    expect(lengths.filter(({ lines }) => lines > 300)).toEqual([]);
  });

  it("names files and directories for one thing each, in kebab-case", () => {
    const paths = everything.map((file) => file.path);
    // words that name no one thing
    const vague = /(^|[/-])(utils?|helpers?|common|lib|types|misc|shared)([./-]|$)/;
    expect(paths.filter((path) => vague.test(path))).toEqual([]);
    const kebab =
      /^([a-z0-9]+(-[a-z0-9]+)*\/)+[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.(ts|mjs|sh)$|\/migrations\/\d{4}_[a-z_]+\.sql$/;
    expect(paths.filter((path) => !kebab.test(path))).toEqual([]);
  });

  it("opens every source file with what it owns", () => {
    const opened = /^(#!.*\n)?\/\*\*/;
    expect(sources.filter(({ text }) => !opened.test(text)).map((file) => file.path)).toEqual([]);
  });

  it("hands the environment of whoever runs the tests to no program, unless it was cleaned", () => {
    const others = tests.filter(({ path }) => path !== "test/support/environment.ts");
    expect(matches(others, /\benv(:| =) (\{ \.\.\.)?process\.env\b|entries\(process\.env\)/)).toEqual([]);
  });

  it("has no enum and no parameter property: types are erased, and nothing else is", () => {
    expect(matches(sources, /^\s*(export\s+)?(declare\s+)?(const\s+)?enum\s/)).toEqual([]);
    const properties = sources.filter(({ text }) =>
      [...text.matchAll(/\bconstructor\s*\(([^){]*)/g)].some(([, parameters = ""]) =>
        /(^|,)\s*(public|private|protected|readonly|override)\s+\w/.test(parameters),
      ),
    );
    expect(properties.map(({ path }) => path)).toEqual([]);
  });

  it("leaves no note for later in the code", () => {
    expect(matches(everything, /\b(T[O]DO|F[I]XME)\b/)).toEqual([]);
  });
});

describe("the checks above", () => {
  const file = (path: string, ...imports: string[]): SourceFile => ({
    path,
    text: "",
    imports: imports.map((to) => ({ specifier: to, path: to })),
  });

  it("see a cycle, also one of a file with itself and one that is not reached first", () => {
    const files = [file("a.ts", "b.ts"), file("b.ts", "c.ts"), file("c.ts", "b.ts"), file("d.ts", "d.ts")];
    expect(cycles(files)).toEqual(["b.ts -> c.ts -> b.ts", "d.ts -> d.ts"]);
  });

  it("read all forms of import", () => {
    const engine = sources.find((source) => source.path === "src/app.ts");
    expect(engine?.imports.map(({ path }) => path)).toContain("src/postgres/store.ts");
    expect(engine?.imports.some(({ path, specifier }) => path === undefined && specifier.startsWith("node:"))).toBe(
      true,
    );
  });
});
