/** What is refused before any service looks at it. */
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  AdminService,
  ListHostsRequestSchema,
  ListRepositoriesRequestSchema,
  RegisterRepositoryRequestSchema,
  RemoveHostRequestSchema,
  UpdateRepositoryRequestSchema,
} from "../../gen/leasehold/v1/admin_service_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import {
  AcquireRequestSchema,
  GetWorkspaceRequestSchema,
  HeartbeatRequestSchema,
  ListActiveRequestSchema,
  ReclaimRequestSchema,
  ReleaseRequestSchema,
  ResetRequestSchema,
  WatchRequestSchema,
  WorkspaceService,
} from "../../gen/leasehold/v1/workspace_service_pb.js";
import { Failure } from "../../src/domain/failure.js";
import { checkRequest } from "../../src/rpc/limits/checks.js";
import { requestLimits } from "../../src/rpc/limits/field-limits.js";
import { branchFault, revisionFault } from "../../src/rpc/limits/git-names.js";
import { updatableSettings } from "../../src/rpc/repository-settings.js";

/** The failure of the check, or undefined if the request is right. */
function failureOf<D extends DescMessage>(desc: D, init: MessageInitShape<D>): Failure | undefined {
  try {
    checkRequest(desc, create(desc, init));
    return undefined;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

/** What is wrong, as `field description`. */
function faults<D extends DescMessage>(desc: D, init: MessageInitShape<D>): string[] {
  const failure = failureOf(desc, init);
  if (failure && failure.reason !== "FIELD_INVALID") throw failure;
  return failure?.fields.map(({ field, description }) => `${field} ${description}`) ?? [];
}

const seconds = (count: number) => ({ seconds: BigInt(count), nanos: 0 });

describe("the table", () => {
  const requests = [...WorkspaceService.methods, ...AdminService.methods].map(({ input }) => input);

  test.each(requests.map((input) => [input.name, input] as const))(
    "F1 every field of %s has a rule",
    (_name, input) => {
      const rules = requestLimits.get(input.typeName)?.fields ?? {};
      expect(Object.keys(rules).sort()).toEqual(input.fields.map(({ localName }) => localName).sort());
    },
  );

  test("F1 update_mask knows every setting of the proto's comment", () => {
    const older = "url min_idle max_workspaces stable_path credential labels paused salvage_ttl".split(" ");
    const newer = "object_storage kill_stragglers salvage_ignored share_dependencies idle_ttl".split(" ");
    expect([...updatableSettings].sort()).toEqual([...older, ...newer].sort());
  });
});

describe("Acquire", () => {
  const right = { repository: "demo" } as const;
  const acquire = (init: MessageInitShape<typeof AcquireRequestSchema>) =>
    faults(AcquireRequestSchema, { ...right, ...init });

  test("F1 a request that sets every field rightly passes", () => {
    const all = {
      requestId: "6f9619ff-8b86-d011-b42d-00c04fc964ff",
      repository: "https://git.example.com/demo.git",
      revision: "refs/heads/feature/x-1",
      host: "*",
      holder: "Jörg, CI job 7",
      ttl: seconds(0),
      wait: seconds(365 * 86_400),
      labels: { "team/x": "", a: "ü".repeat(128) },
      maxStaleness: { seconds: 0n, nanos: 1 },
      branch: "topic/ö",
      author: { name: "Jörg", email: "j@example.com" },
    };
    expect(acquire(all)).toEqual([]);
  });

  test("F1 every field that is wrong is reported at once, with its path", () => {
    const wrong = {
      requestId: "ü",
      repository: "",
      revision: "--upload-pack=x",
      host: "h".repeat(129),
      holder: "h".repeat(257),
      ttl: seconds(-1),
      wait: { seconds: 0n, nanos: -1 },
      labels: { "Bad Key": "x", ok: "v".repeat(257) },
      maxStaleness: seconds(400_000_000_000),
      branch: "a..b",
      author: { name: "", email: "a\nb" },
    };
    expect(acquire(wrong)).toEqual([
      "request_id is not printable ASCII",
      "repository is required",
      "revision begins with '-'",
      "host has more than 128 bytes",
      "holder has more than 256 bytes",
      "ttl is negative",
      "wait is negative",
      'labels["Bad Key"] has a key that is not [a-z0-9][a-z0-9._/-]{0,62}',
      'labels["ok"] has more than 256 bytes',
      "max_staleness is no valid duration",
      "branch has '..'",
      "author.name is required",
      "author.email has control characters",
    ]);
  });

  test("F1 limits count bytes, not characters", () => {
    expect(acquire({ holder: "ü".repeat(128) })).toEqual([]);
    expect(acquire({ holder: "ü".repeat(129) })).toEqual(["holder has more than 256 bytes"]);
  });

  test("F1 control characters and broken Unicode are refused in every text", () => {
    for (const bad of ["\0", "\n", "\x1b[31m", "\x7f", "\x85"]) {
      expect(acquire({ holder: bad, repository: bad, host: bad, labels: { a: bad } })).toHaveLength(4);
    }
    expect(acquire({ holder: "\ud800" })).toEqual(["holder is not well-formed Unicode"]);
  });

  test("F1 more than 32 labels are one fault", () => {
    const labels = Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`k${index}`, "v"]));
    expect(acquire({ labels })).toEqual(["labels has more than 32 entries"]);
  });

  test("no description repeats a value, which may be a secret", () => {
    const secret = "hunter2";
    const failure = failureOf(AcquireRequestSchema, {
      requestId: `${secret}\n`,
      holder: `${secret}\n`,
      revision: `-${secret}`,
      author: { name: `<${secret}`, email: `${secret}\n` },
    });
    expect(failure?.message).not.toContain(secret);
    expect(JSON.stringify(failure?.fields)).not.toContain(secret);
  });
});

describe("revisions and branches", () => {
  const refused = [
    "--upload-pack=x",
    "-x",
    "../x",
    "a..b",
    "a b",
    "a~1",
    "a^",
    "a:b",
    "a?",
    "a*",
    "a[b",
    "a\\b",
    "a@{1}",
  ];
  const broken = ["/a", "a/", "a//b", "a.", "a.lock", "a.lock/b", ".a", "a/.b", "a\nb", "a\0b", "a\x7f"];

  test.each([...refused, ...broken].map((name) => [JSON.stringify(name), name] as const))(
    "%s is refused",
    (_shown, name) => {
      expect(revisionFault(name)).toBeDefined();
      expect(branchFault(name)).toBeDefined();
    },
  );

  test.each([
    "main",
    "v1.0",
    "refs/tags/v1",
    "feature/x",
    "0123abcd",
    "a@b",
    "ü",
    "x{y",
    "a-b",
    "refs/pull/7/head",
    "a.lockx",
  ])("%s passes", (name) => {
    expect(revisionFault(name)).toBeUndefined();
    expect(branchFault(name)).toBeUndefined();
  });

  test("HEAD and @ are no names for a branch", () => {
    expect([branchFault("HEAD"), branchFault("@")]).not.toContain(undefined);
  });
});

describe("the other calls", () => {
  test("a garbled lease id or token passes, for the service to answer TOKEN_INVALID; an empty or huge one does not", () => {
    expect(faults(HeartbeatRequestSchema, { leaseId: "\0garbage", leaseToken: "…\n" })).toEqual([]);
    expect(faults(ReleaseRequestSchema, { leaseId: "x".repeat(129), leaseToken: "" })).toEqual([
      "lease_id has more than 128 bytes",
      "lease_token is required",
    ]);
  });

  test("values that an enum does not have are refused", () => {
    expect(faults(ReleaseRequestSchema, { leaseId: "w1.1", leaseToken: "t", disposition: 9 as never })).toEqual([
      "disposition is no value of Disposition",
    ]);
    expect(
      faults(ListActiveRequestSchema, { states: [WorkspaceState.IDLE, WorkspaceState.UNSPECIFIED, 77 as never] }),
    ).toEqual(["states[1] is unspecified", "states[2] is no value of WorkspaceState"]);
    expect(faults(WatchRequestSchema, { kinds: [0, 99] as never })).toHaveLength(2);
  });

  test("Watch does not take a snapshot together with a revision, nor a revision below 1", () => {
    expect(faults(WatchRequestSchema, { fromRevision: 5n, includeSnapshot: true })).toEqual([
      "include_snapshot is given together with from_revision",
    ]);
    expect(faults(WatchRequestSchema, { fromRevision: 0n })).toEqual(["from_revision is below 1"]);
  });

  test("Reset takes one selector, and destroys work only by name and fence", () => {
    expect(faults(ResetRequestSchema, { workspaceId: "w1", repository: "r" })).toEqual([
      "repository is given together with workspace_id",
    ]);
    expect(faults(ResetRequestSchema, { workspaceId: "w1", abandonWork: true })).toEqual([
      "abandon_work needs workspace_id and expected_fence",
    ]);
    expect(faults(ResetRequestSchema, { repository: "r", expectedFence: 3n })).toEqual([
      "expected_fence needs workspace_id",
    ]);
    expect(faults(ResetRequestSchema, { workspaceId: "w1", expectedFence: 3n, abandonWork: true })).toEqual([]);
  });

  test("what names nothing to act on is SELECTOR_REQUIRED", () => {
    expect(failureOf(ReclaimRequestSchema, { dryRun: true })?.reason).toBe("SELECTOR_REQUIRED");
    expect(failureOf(ResetRequestSchema, {})?.reason).toBe("SELECTOR_REQUIRED");
    expect(failureOf(ReclaimRequestSchema, { olderThan: seconds(0) })).toBeUndefined();
    expect(failureOf(ReclaimRequestSchema, { olderThan: seconds(-1) })?.reason).toBe("FIELD_INVALID");
  });

  test("Reclaim takes at most 1,000 ids of each kind", () => {
    const ids = Array.from({ length: 1001 }, (_, index) => `w${index}`);
    expect(faults(ReclaimRequestSchema, { workspaceIds: ids, leaseIds: ["w1.1", ""] })).toEqual([
      "lease_ids[1] is required",
      "workspace_ids has more than 1,000 entries",
    ]);
  });

  test("names are required where something is named", () => {
    expect(faults(GetWorkspaceRequestSchema, {})).toEqual(["workspace_id is required"]);
    expect(faults(RemoveHostRequestSchema, {})).toEqual(["name is required"]);
  });

  test("a negative page size is refused, as is a token of another list", () => {
    for (const desc of [ListActiveRequestSchema, ListRepositoriesRequestSchema, ListHostsRequestSchema]) {
      expect(faults(desc, { pageSize: -1, pageToken: "garbage" })).toEqual([
        "page_size is negative",
        "page_token is not of a list with these filters",
      ]);
    }
  });

  test("the settings of a repository are checked, output-only fields are not", () => {
    const output = { problem: "\n", defaultBranch: "\0", state: 99 as never };
    expect(faults(RegisterRepositoryRequestSchema, { repository: { url: "/srv/x.git", ...output } })).toEqual([]);
    expect(faults(RegisterRepositoryRequestSchema, {})).toEqual(["repository is required"]);
    const repository = { name: "No", minIdle: 1001, maxWorkspaces: 10_001, credential: "\n", labels: { A: "" } };
    expect(faults(RegisterRepositoryRequestSchema, { repository }).map((fault) => fault.split(" ")[0])).toEqual([
      "repository.name",
      "repository.url",
      "repository.min_idle",
      "repository.max_workspaces",
      "repository.credential",
      'repository.labels["A"]',
    ]);
    expect(faults(RegisterRepositoryRequestSchema, { repository: { url: "u", minIdle: 101 } })).toEqual([
      "repository.min_idle is above max_workspaces",
    ]);
  });

  test("an update looks at what its mask names, and at nothing else", () => {
    const repository = { minIdle: -1 };
    expect(
      faults(UpdateRepositoryRequestSchema, { name: "demo", repository, updateMask: { paths: ["paused"] } }),
    ).toEqual([]);
    expect(
      faults(UpdateRepositoryRequestSchema, { name: "demo", repository, updateMask: { paths: ["min_idle", "name"] } }),
    ).toEqual([`update_mask.paths[1] is none of ${updatableSettings.join(", ")}`, "repository.min_idle is negative"]);
    expect(faults(UpdateRepositoryRequestSchema, {})).toEqual([
      "name is required",
      "update_mask is required",
      "repository is required",
    ]);
  });
});
