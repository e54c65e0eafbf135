/** Which files say what is to be installed, and what the fingerprint over them depends on. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { changedManifests, fingerprintOf, type Manifest, normalKeepPaths } from "../../src/domain/dependencies.js";
import { manifestSelector, wellKnownManifests } from "../../src/domain/manifest-selection.js";

const platform = { os: "linux", arch: "x64", libc: "glibc" };
const file = (path: string, blob = "1"): Manifest => ({ path, kind: "file", blob: blob.repeat(40) });
const manifests = [file("package.json"), file("a/package.json", "2")];

describe("the fingerprint", () => {
  const fingerprint = fingerprintOf(manifests, platform, { node: "22", os: "bookworm" });

  it("A7 is the same on every host of a platform, in whatever order things are given", () => {
    expect(fingerprintOf([...manifests].reverse(), { ...platform }, { os: "bookworm", node: "22" })).toBe(fingerprint);
    // what has been told to callers stays: another encoding needs another version
    expect(fingerprint).toBe("2a76b3e00f6eb286a4b15001c81d6ddce226b2548dcb72fb7ec0a724c750de0d");
  });

  it.each<[string, readonly Manifest[], typeof platform, Record<string, string>]>([
    ["a manifest's content", [file("package.json", "3"), file("a/package.json", "2")], platform, {}],
    ["a manifest's path", [file("package.json"), file("b/package.json", "2")], platform, {}],
    ["a manifest's kind", [file("package.json"), { ...file("a/package.json", "2"), kind: "link" }], platform, {}],
    ["one manifest more", [...manifests, file("yarn.lock")], platform, {}],
    ["one manifest less", [file("package.json")], platform, {}],
    ["contents that change places", [file("package.json", "2"), file("a/package.json", "1")], platform, {}],
    ["another system", manifests, { ...platform, os: "darwin" }, {}],
    ["another processor", manifests, { ...platform, arch: "arm64" }, {}],
    ["another C library", manifests, { ...platform, libc: "musl" }, {}],
    ["a variable", manifests, platform, { node: "22" }],
    ["a variable's value", manifests, platform, { node: "24" }],
    ["a variable's name", manifests, platform, { nod: "e22" }],
  ])("A7 changes with %s", (_what, files, where, environment) => {
    const others = [
      fingerprintOf(manifests, platform, {}),
      fingerprintOf(manifests, platform, { node: "20" }),
      fingerprintOf(manifests, platform, { node22: "" }),
    ];
    expect(others).not.toContain(fingerprintOf(files, where, environment));
  });

  it("A7 tells the manifests that were added, changed and removed", () => {
    const now = [file("package.json", "9"), file("c/package.json")];
    expect(changedManifests(manifests, now)).toEqual(["a/package.json", "c/package.json", "package.json"]);
    expect(changedManifests(manifests, manifests)).toEqual([]);
  });

  it("A7 paths to keep are compared in one form", () => {
    expect(normalKeepPaths(["node_modules/", ".venv", "node_modules"])).toEqual([".venv", "node_modules"]);
  });
});

describe("the selection of manifests", () => {
  it.each<[string, readonly string[], readonly string[]]>([
    ["package.json", ["package.json"], ["a/package.json", "package.json.bak"]],
    ["a/b.txt", ["a/b.txt"], ["b.txt", "a/b/txt"]],
    ["*.lock", ["yarn.lock", ".lock"], ["a/yarn.lock", "yarn.lock2"]],
    ["**/*.lock", ["yarn.lock", "a/yarn.lock", "a/b/c.lock"], ["a/lock"]],
    ["packages/*/package.json", ["packages/a/package.json"], ["packages/package.json", "packages/a/b/package.json"]],
    ["packages/**/package.json", ["packages/package.json", "packages/a/b/package.json"], ["x/packages/package.json"]],
    ["vendor/**", ["vendor/a", "vendor/a/b"], ["vendor", "vendors/a"]],
    ["**", ["a", "a/b"], []],
    ["a?c", ["abc"], ["ac", "a/c", "abbc"]],
    ["req[a-c].txt", ["reqa.txt", "reqc.txt"], ["reqd.txt", "req.txt"]],
    ["req[!a-c]", ["reqd"], ["reqa", "req/"]],
    ["[]x]", ["]", "x"], ["y"]],
    ["a[b", ["a[b"], ["ab"]],
    ["a.c", ["a.c"], ["abc"]],
    ["(a|b)*+", ["(a|b)c+"], ["a", "ac"]],
    ["auto", ["package-lock.json", "deep/in/pyproject.toml", "requirements-dev.txt", "x/App.csproj"], ["readme.md"]],
  ])("A7 %s", (pattern, selected, others) => {
    const selects = manifestSelector([pattern]);
    expect(selected.filter((path) => !selects(path))).toEqual([]);
    expect(others.filter((path) => selects(path))).toEqual([]);
  });

  it("A7 takes no more than a moment for any pattern", () => {
    const start = process.cpuUsage().user;
    const selects = manifestSelector([`${"*a".repeat(100)}b`, `${"**/".repeat(80)}x`, `${"[a-z]*".repeat(40)}!`]);
    expect(selects("a".repeat(2_000))).toBe(false);
    expect(selects("a/".repeat(500))).toBe(false);
    expect((process.cpuUsage().user - start) / 1_000).toBeLessThan(2_000);
  });

  it("A7 docs/dependencies.md names what `auto` selects", () => {
    const text = readFileSync(new URL("../../docs/dependencies.md", import.meta.url), "utf8");
    const rows = new Map(
      [...text.matchAll(/^\| ([a-z]+) +\| (`.*`) +\|$/gm)].map(([, tool = "", names = ""]) => [
        tool,
        [...names.matchAll(/`([^`]+)`/g)].map(([, name]) => name),
      ]),
    );
    expect(Object.fromEntries(rows)).toEqual(wellKnownManifests);
  });
});
