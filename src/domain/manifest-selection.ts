/**
 * Owns which files of a commit a list of paths and globs selects, and the only table of well-known manifests.
 *
 * Invariants:
 * 1. A pattern is matched against the whole path from the top: `package.json` selects one file, globs and `auto` others.
 * 2. Matching takes time in proportion to pattern and path, whatever the pattern is.
 */

/** What `auto` selects, in every directory. docs/dependencies.md has the same table; a test compares them. */
export const wellKnownManifests: Readonly<Record<string, readonly string[]>> = {
  npm: ["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"],
  pnpm: ["pnpm-lock.yaml", "pnpm-workspace.yaml", ".pnpmfile.cjs"],
  yarn: ["yarn.lock", ".yarnrc", ".yarnrc.yml"],
  bun: ["bun.lock", "bun.lockb", "bunfig.toml"],
  deno: ["deno.json", "deno.jsonc", "deno.lock"],
  pip: ["requirements*.txt", "requirements*.in", "constraints*.txt", "setup.py", "setup.cfg", "pyproject.toml"],
  pipenv: ["Pipfile", "Pipfile.lock"],
  poetry: ["poetry.lock", "poetry.toml"],
  uv: ["uv.lock", "uv.toml"],
  pdm: ["pdm.lock"],
  python: [".python-version", "pylock*.toml"],
  conda: ["environment.yml", "environment.yaml", "conda-lock.yml", "pixi.toml", "pixi.lock"],
  cargo: ["Cargo.toml", "Cargo.lock", "rust-toolchain", "rust-toolchain.toml"],
  go: ["go.mod", "go.sum", "go.work", "go.work.sum"],
  maven: ["pom.xml", "maven-wrapper.properties"],
  gradle: [
    ...["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "gradle.properties"],
    ...["gradle.lockfile", "libs.versions.toml", "gradle-wrapper.properties", "verification-metadata.xml"],
  ],
  sbt: ["build.sbt", "build.properties", "plugins.sbt"],
  bundler: ["Gemfile", "Gemfile.lock", "gems.rb", "gems.locked", "*.gemspec", ".ruby-version"],
  composer: ["composer.json", "composer.lock"],
  nuget: [
    ...["packages.lock.json", "packages.config", "Directory.Packages.props", "Directory.Build.props", "global.json"],
    ...["nuget.config", "NuGet.Config", "NuGet.config", "*.csproj", "*.fsproj", "*.vbproj"],
  ],
  mix: ["mix.exs", "mix.lock"],
  rebar: ["rebar.config", "rebar.lock"],
  pub: ["pubspec.yaml", "pubspec.lock"],
  swift: ["Package.swift", "Package.resolved"],
  cocoapods: ["Podfile", "Podfile.lock"],
  cabal: ["cabal.project", "cabal.project.freeze", "stack.yaml", "stack.yaml.lock", "*.cabal"],
  node: [".nvmrc", ".node-version"],
  tools: [".tool-versions", "mise.toml", ".mise.toml"],
};

/** The word that stands for `wellKnownManifests`. */
export const automatic = "auto";

/** `patterns` and the paths that are asked for: bytes, one character each. */
export function manifestSelector(patterns: readonly string[]): (path: string) => boolean {
  const paths = new Set<string>();
  const globs: (readonly string[])[] = [];
  const names = new Set<string>();
  const nameGlobs: string[] = [];
  for (const pattern of patterns) {
    if (pattern === automatic) {
      for (const name of Object.values(wellKnownManifests).flat())
        isGlob(name) ? nameGlobs.push(name) : names.add(name);
    } else if (isGlob(pattern)) globs.push(pattern.split("/"));
    else paths.add(pattern);
  }
  return (path) => {
    if (paths.has(path)) return true;
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (names.has(name) || nameGlobs.some((glob) => matchesName(glob, name))) return true;
    return globs.length > 0 && globs.some((glob) => matchesPath(glob, path.split("/")));
  };
}

function isGlob(pattern: string): boolean {
  return /[*?[]/.test(pattern);
}

/** `**` is any number of directories, also none; at the end it is everything below. */
function matchesPath(glob: readonly string[], path: readonly string[]): boolean {
  // reached[i]: the first parts of the glob can be the first i parts of the path
  let reached = new Array<boolean>(path.length + 1).fill(false);
  reached[0] = true;
  for (const [index, part] of glob.entries()) {
    const next = new Array<boolean>(path.length + 1).fill(false);
    const isLast = index === glob.length - 1;
    for (let at = 0, any = false; at <= path.length; at++) {
      if (part === "**") {
        next[at] = isLast ? any : any || reached[at] === true;
        any ||= reached[at] === true;
      } else if (at > 0) next[at] = reached[at - 1] === true && matchesName(part, path[at - 1] as string);
    }
    reached = next;
  }
  return reached[path.length] === true;
}

/** One part: on a mismatch, only the last `*` takes one more character. */
function matchesName(glob: string, name: string): boolean {
  let [g, n, star, taken] = [0, 0, -1, 0];
  while (n < name.length) {
    const step = g < glob.length && glob[g] !== "*" ? matchesOne(glob, g, name[n] as string) : 0;
    if (step > 0) {
      g += step;
      n += 1;
    } else if (glob[g] === "*") {
      star = g++;
      taken = n;
    } else if (star >= 0) {
      g = star + 1;
      n = ++taken;
    } else return false;
  }
  while (glob[g] === "*") g++;
  return g === glob.length;
}

/** How many characters of the glob stand for the character; 0 if they do not. A `[` that is not closed is itself. */
function matchesOne(glob: string, at: number, char: string): number {
  if (glob[at] === "?") return 1;
  const set = glob[at] === "[" ? /^\[([!^]?)(\]?[^\]]*)\]/.exec(glob.slice(at)) : null;
  if (!set) return glob[at] === char ? 1 : 0;
  const [whole, negation = "", members = ""] = set;
  return isMember(members, char) === (negation === "") ? whole.length : 0;
}

function isMember(members: string, char: string): boolean {
  for (let at = 0; at < members.length; at++) {
    const low = members[at] as string;
    const high = members[at + 1] === "-" ? members[at + 2] : undefined;
    if (high === undefined) {
      if (low === char) return true;
    } else {
      if (low <= char && char <= high) return true;
      at += 2;
    }
  }
  return false;
}
