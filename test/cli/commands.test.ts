import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { WorkspaceAction } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { exitCodeOf, runExitCodeOf } from "../../src/cli/exit-codes.js";
import { LeaseholdError } from "../../src/client/index.js";
import { leasehold } from "../support/command-line.js";
import {
  failure,
  granted,
  leaseLost,
  leaseOf,
  renewed,
  type Script,
  serveScript,
  workspaceOf,
} from "../support/scripted-server.js";

/** Runs one command against a server that does as `script` says. */
async function against(script: Script, args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  await using server = await serveScript(script);
  return await leasehold(server.address, args, environment);
}

const proof = { LEASEHOLD_LEASE_ID: "w17.4", LEASEHOLD_LEASE_TOKEN: "w17.4.secret" };

test("acquire prints what the holder needs, as a table and as the protobuf JSON of the answer", async () => {
  let asked: unknown;
  const script: Script = {
    acquire: (request) => {
      asked = request;
      return granted("/w");
    },
  };
  const table = await against(script, ["acquire", "-r", "demo", "--host", "*", "--ttl", "2m"]);
  expect(table.status).toBe(0);
  expect(table.stdout).toMatch(/^lease +w17\.4$/m);
  expect(table.stdout).toMatch(/^lease token +w17\.4\.secret$/m);
  expect(table.stdout).toMatch(/^path +\/w$/m);
  expect(asked).toMatchObject({ repository: "demo", host: "*", ttl: { seconds: 120n } });
  expect((asked as { holder: string }).holder).toMatch(/.@./);

  const { status, stdout } = await against(script, ["acquire", "-r", "demo", "--output", "json"]);
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    ...{ leaseToken: "w17.4.secret", source: "WORKSPACE_SOURCE_WARM", storeId: "store-a" },
    lease: { leaseId: "w17.4", fence: "4", remaining: "60s", endReason: "LEASE_END_REASON_UNSPECIFIED" },
    workspace: { path: "/w", state: "WORKSPACE_STATE_LEASED", problem: "" },
  });
});

test("heartbeat and release take the lease from arguments or the environment, and its token from there too", async () => {
  const seen: unknown[] = [];
  const script: Script = {
    heartbeat: ({ leaseId, leaseToken, ttl }) => {
      seen.push([leaseId, leaseToken, Number(ttl?.seconds ?? 0n)]);
      return renewed(90_000);
    },
    release: ({ leaseId, leaseToken, disposition, waitForClean }) => {
      seen.push([leaseId, leaseToken, disposition, waitForClean]);
      return { workspace: workspaceOf("/w"), alreadyReleased: true };
    },
  };
  const beat = await against(script, ["heartbeat", "w1.1", "--lease-token", "t", "--ttl", "90s"], proof);
  expect(beat).toMatchObject({ status: 0, stderr: "" });
  expect(beat.stdout).toMatch(/^expires in +1m30s$/m);
  const released = await against(
    script,
    ["release", "--disposition", "Discard", "--wait-for-clean", "-o", "json"],
    proof,
  );
  expect(JSON.parse(released.stdout)).toMatchObject({ alreadyReleased: true, workspace: { workspaceId: "w17" } });
  expect(seen).toEqual([
    ["w1.1", "t", 90],
    ["w17.4", "w17.4.secret", 2, true],
  ]);
  const without = await against(script, ["release", "w17.4"]);
  expect(without).toMatchObject({ status: 2, stdout: "" });
  expect(without.stderr).toContain("LEASEHOLD_LEASE_TOKEN");
});

test("A8 show-active --repository lists every page, and takes the server's options with a word about them", async () => {
  const asked: unknown[] = [];
  const script: Script = {
    listActive: (request) => {
      asked.push(request);
      const page = {
        workspaces: [workspaceOf("/w", leaseOf({ holder: "me\u001b[2J" }))],
        revision: 7n,
        storeId: "store-a",
      };
      return request.pageToken === "" ? { ...page, nextPageToken: "more" } : { ...page, revision: 9n };
    },
  };
  const server = ["--database-url", "postgres://u:secret@h/d", "--bare-path", "/b", "--worktree-root", "/w"];
  const table = await against(script, ["show-active", "--repository", "demo", ...server]);
  expect(table.status).toBe(0);
  const [head, ...rows] = table.stdout.trim().split("\n");
  expect(head).toMatch(/^WORKSPACE +REPOSITORY +STATE .* HOLDER .* PATH$/);
  expect(rows).toHaveLength(2);
  expect(rows[0]).toMatch(/^w17 +demo +LEASED .* w17\.4 +me\ufffd\[2J .* \/w$/);
  expect(table.stderr).toContain("--database-url, --bare-path, --worktree-root ignored");
  expect(table.stderr).not.toContain("secret");
  expect(asked).toMatchObject([
    { repository: "demo", states: [], pageToken: "" },
    { repository: "demo", pageToken: "more" },
  ]);

  asked.length = 0;
  const json = await against(script, ["list-active", "--state", "idle,workspace_state_quarantined", "-o", "json"]);
  const document = JSON.parse(json.stdout);
  expect(document).toMatchObject({ revision: "7", storeId: "store-a", nextPageToken: "" });
  expect(document.workspaces).toHaveLength(2);
  expect(asked).toMatchObject([{ states: [2, 5] }, {}]);

  const none = await against({ listActive: () => ({}) }, ["list-active"]);
  expect(none).toMatchObject({ status: 0, stdout: "", stderr: "leasehold: no workspaces\n" });
});

test("A8 reclaim --repository --older-than 2h asks for that, and shows what was done and what was not", async () => {
  let asked: unknown;
  const script: Script = {
    reclaim: (request) => {
      asked = request;
      return {
        results: [
          { workspace: workspaceOf("/w"), action: WorkspaceAction.REMOVED, reason: "" },
          { workspace: { workspaceId: "w9" }, action: WorkspaceAction.NONE, reason: "WORKSPACE_NOT_FOUND" },
        ],
      };
    },
  };
  const args = ["reclaim", "--repository", "demo", "--older-than", "2h", "--workspace", "w17,w9", "--workspace", "w3"];
  const { status, stdout } = await against(script, args);
  expect(asked).toMatchObject({
    repository: "demo",
    olderThan: { seconds: 7_200n },
    workspaceIds: ["w17", "w9", "w3"],
  });
  expect(stdout).toMatch(/^w17 +demo +REMOVED +IDLE +\/w$/m);
  expect(stdout).toMatch(/^w9 +NONE +WORKSPACE_NOT_FOUND$/m);
  expect(status).toBe(4);
  expect(await against(script, [...args, "--dry-run"])).toMatchObject({ status: 0 });
  expect(asked).toMatchObject({ dryRun: true });
});

test("reset names one workspace and its fence, and a refusal shows in the exit code", async () => {
  let asked: unknown;
  const script: Script = {
    reset: (request) => {
      asked = request;
      return { results: [{ workspace: workspaceOf("/w"), action: WorkspaceAction.NONE, reason: "LEASE_LIVE" }] };
    },
  };
  const args = ["reset", "--workspace", "w17", "--expected-fence", "4", "--force", "--abandon-work", "-o", "json"];
  const { status, stdout } = await against(script, args);
  expect(asked).toMatchObject({ workspaceId: "w17", expectedFence: 4n, force: true, abandonWork: true });
  expect(JSON.parse(stdout).results[0]).toMatchObject({ action: "WORKSPACE_ACTION_NONE", reason: "LEASE_LIVE" });
  expect(status).toBe(4);
});

test.each([
  ["WORKSPACE_NOT_FOUND", "NOT_FOUND", 3, 125],
  ["REPOSITORY_IN_USE", "FAILED_PRECONDITION", 4, 125],
  ["REPOSITORY_EXISTS", "ALREADY_EXISTS", 4, 125],
  ["LEASE_LOST", "FAILED_PRECONDITION", 5, 120],
  ["POOL_EXHAUSTED", "RESOURCE_EXHAUSTED", 6, 121],
  ["UPSTREAM_UNAVAILABLE", "UNAVAILABLE", 7, 122],
  ["ROLE_REQUIRED", "PERMISSION_DENIED", 8, 123],
  ["CREDENTIAL_MISSING", "UNAUTHENTICATED", 8, 123],
  ["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 9, 125],
  ["REVISION_COMPACTED", "OUT_OF_RANGE", 10, 125],
  ["INTERNAL", "INTERNAL", 1, 125],
] as const)("%s (%s) has exit code %d, and %d in run", (reason, code, exitCode, runCode) => {
  const error = new LeaseholdError("scripted", { reason, code });
  expect([exitCodeOf(error), runExitCodeOf(error)]).toEqual([exitCode, runCode]);
});

test("wrong fields are told on standard error, every one", async () => {
  const fields: [string, string][] = [
    ["ttl", "is negative"],
    ["lease_id", "is no name of a lease"],
  ];
  const script: Script = {
    heartbeat: () => {
      throw failure("FIELD_INVALID", Code.InvalidArgument, { fields });
    },
  };
  expect(await against(script, ["heartbeat"], proof)).toEqual({
    ...{ status: 2, signal: null, stdout: "" },
    stderr:
      "leasehold: scripted FIELD_INVALID [FIELD_INVALID]\n  ttl: is negative\n  lease_id: is no name of a lease\n",
  });
});

test("a lease that has ended is told with why", async () => {
  const script: Script = {
    heartbeat: () => {
      throw leaseLost("EXPIRED");
    },
  };
  const { status, stderr } = await against(script, ["heartbeat"], proof);
  expect(stderr).toBe("leasehold: scripted LEASE_LOST (end reason: EXPIRED) [LEASE_LOST]\n");
  expect(status).toBe(5);
});

test.each([
  [["frobnicate"], "unknown command 'frobnicate'"],
  [["list-active", "--output", "xml"], "Allowed choices are table, json"],
  [["list-active", "--state", "asleep"], "ASLEEP is none of"],
  [["reclaim", "--older-than", "2"], "A duration has a unit"],
  [["list-active", "--label", "x"], "A label is written key=value"],
  [["acquire"], "required option '-r, --repository"],
  [["acquire", "-r", "x", "--author-name", "A"], "belong together"],
  [["list-active", "--token-file", "/no/such/file"], "cannot read /no/such/file"],
  [["list-active", "--address", "ftp://x"], "expected http://HOST:PORT"],
  [["repository", "update", "demo"], "nothing to change"],
])("a wrong command line %j is refused with what is wrong, before anything is asked", async (args, message) => {
  const { status, stdout, stderr } = await leasehold("http://127.0.0.1:1", args);
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(stderr).toContain(message);
});

test("help and version go to standard output", async () => {
  const help = await leasehold("", ["run", "--help"]);
  expect(help).toMatchObject({ status: 0, stderr: "" });
  expect(help.stdout).toContain("leasehold run [options] -- <command> [arguments...]");
  expect((await leasehold("", ["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});
