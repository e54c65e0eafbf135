/** What of the wishes for dependencies is refused before any service looks at it. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { AcquireRequestSchema } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { Failure } from "../../src/domain/failure.js";
import { checkRequest } from "../../src/rpc/limits/checks.js";

type Fields = MessageInitShape<typeof AcquireRequestSchema>;

/** What is wrong, as `field description`. */
function faults(fields: Fields): string[] {
  try {
    checkRequest(AcquireRequestSchema, create(AcquireRequestSchema, { repository: "demo", ...(fields as object) }));
    return [];
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return error.fields.map(({ field, description }) => `${field} ${description}`);
  }
}

const kept = (...keepPaths: string[]): Fields => ({ dependencyManifests: ["auto"], keepPaths });
const many = (count: number, of: (index: number) => string) => Array.from({ length: count }, (_, index) => of(index));

test("A7 F1 what is right passes", () => {
  expect(faults({ dependencyManifests: ["auto", "package.json", "**/*.lock", ".config/x.toml"] })).toEqual([]);
  expect(faults(kept("node_modules", "packages/a/node_modules/", ".venv", "a..b", ".gitx", "aa", "a"))).toEqual([]);
  expect(faults({ dependencyManifests: many(64, (n) => `m${n}`) })).toEqual([]);
  expect(faults(kept(...many(32, (n) => `k${n}`)))).toEqual([]);
  expect(faults({ environment: { node: "22", "os/release": "", A_B: "x".repeat(1024) } })).toEqual([]);
});

test.each<[string, Fields, string]>([
  [
    "too many manifests",
    { dependencyManifests: many(65, (n) => `m${n}`) },
    "dependency_manifests has more than 64 entries",
  ],
  ["an empty manifest", { dependencyManifests: [""] }, "dependency_manifests[0] is required"],
  ["an absolute manifest", { dependencyManifests: ["/etc/passwd"] }, "dependency_manifests[0] begins with '/'"],
  ["a manifest above", { dependencyManifests: ["a/../../b"] }, "dependency_manifests[0] has '..'"],
  ["a long manifest", { dependencyManifests: ["x".repeat(257)] }, "dependency_manifests[0] has more than 256 bytes"],
  ["too many paths", kept(...many(33, (n) => `k${n}`)), "keep_paths has more than 32 entries"],
  ["an empty path", kept(""), "keep_paths[0] is required"],
  ["an absolute path", kept("/node_modules"), "keep_paths[0] begins with '/'"],
  ["the top", kept("."), "keep_paths[0] has a part '.' or '..'"],
  ["the root", kept("/"), "keep_paths[0] begins with '/'"],
  ["a path above", kept("a", "../x"), "keep_paths[1] has a part '.' or '..'"],
  ["a path through above", kept("a/../b"), "keep_paths[0] has a part '.' or '..'"],
  ["the git directory", kept(".git"), "keep_paths[0] has a part '.git'"],
  ["one of a nested repository, in capitals", kept("sub/.GIT/hooks"), "keep_paths[0] has a part '.git'"],
  ["an empty part", kept("a//b"), "keep_paths[0] has an empty part"],
  ["two slashes at the end", kept("a//"), "keep_paths[0] has an empty part"],
  ["a path below another", kept("a/b/c", "a"), "keep_paths[0] is below another"],
  ["a control character", kept("a\nb"), "keep_paths[0] has control characters"],
  ["a long path", kept("x".repeat(1025)), "keep_paths[0] has more than 1,024 bytes"],
  ["paths without manifests", { keepPaths: ["node_modules"] }, "keep_paths needs dependency_manifests"],
  [
    "a large environment",
    { environment: Object.fromEntries(many(65, (n) => `k${n}`).map((key) => [key, ""])) },
    "environment has more than 64 entries",
  ],
  [
    "a key with blanks",
    { environment: { "a b": "" } },
    'environment["a b"] has a key that is not [A-Za-z0-9_][A-Za-z0-9_./-]{0,127}',
  ],
  ["a long value", { environment: { a: "x".repeat(1025) } }, 'environment["a"] has more than 1,024 bytes'],
])("A7 F1 %s", (_what, fields, fault) => {
  expect(faults(fields)).toEqual([fault]);
});
