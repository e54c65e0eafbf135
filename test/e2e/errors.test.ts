/** "Bad input: what the caller gets": every refusal has its code, its reason and its details, and changes nothing. */
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { type AcquireFields, type Client, type Held, refusal, shown } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let client: Client;
let server: ServerProcess;
let root: string;

beforeAll(async () => {
  root = await servers.directory();
  const { url } = await Upstream.make(root, "tools");
  server = await servers.start();
  client = server.client;
  await client.admin.registerRepository({ repository: { name: "tools", url } });
});

const acquire = (fields: AcquireFields) => refusal(client.acquire({ repository: "tools", ...fields }));
/** Who is registered, and which workspace is in which version: what a refused call must not change. */
const registered = async () => (await client.admin.listRepositories({})).repositories.map(({ url }) => url);
const versions = async (...held: Held[]) =>
  Promise.all(held.map(async ({ workspaceId }) => (await client.get(workspaceId)).version));

describe("what is asked for", () => {
  it("B3 an unknown repository, revision, host or workspace is NOT_FOUND with what was asked", async () => {
    const notFound = (reason: string, metadata: object) => ({ code: Code.NotFound, reason, metadata, fields: [] });
    expect(await acquire({ repository: "nothing" })).toMatchObject(
      notFound("REPOSITORY_NOT_FOUND", { repository: "nothing" }),
    );
    for (const revision of ["nothing", "refs/heads/nothing", "refs/leasehold/x", "deadbeef", "0".repeat(40)]) {
      expect(await acquire({ revision })).toMatchObject(notFound("REVISION_NOT_FOUND", { revision }));
    }
    expect(await acquire({ host: "nowhere" })).toMatchObject(notFound("HOST_NOT_FOUND", { host: "nowhere" }));
    const workspaceId = "w999999";
    expect(await refusal(client.get(workspaceId))).toMatchObject(
      notFound("WORKSPACE_NOT_FOUND", { workspace: workspaceId }),
    );
    expect(await refusal(client.admin.refreshMirror({ repository: "nothing" }))).toMatchObject(
      notFound("REPOSITORY_NOT_FOUND", { repository: "nothing" }),
    );
  });

  it.each([
    ["--upload-pack=x"],
    ["../x"],
    ["a..b"],
    ["a\0b"],
    ["a\nb"],
    ["main~1"],
    ["HEAD^{/x}"],
    ["main:README.md"],
    ["@{-1}"],
    ["x".repeat(513)],
  ])("B3 a revision such as %j is INVALID_ARGUMENT that names the field", async (revision) => {
    expect(await acquire({ revision })).toMatchObject({
      code: Code.InvalidArgument,
      reason: "FIELD_INVALID",
      fields: ["revision"],
    });
  });

  it("B3 what is too long is refused with field and limit, and all wrong fields at once", async () => {
    const refused = await acquire({
      holder: "h".repeat(257),
      labels: { key: "v".repeat(257), "Not A Key": "v" },
      branch: "a..b",
      author: { name: "", email: "e".repeat(257) },
      ttl: durationFromMs(-1),
      wait: durationFromMs(-1),
      maxStaleness: durationFromMs(-1),
    });
    expect(refused).toMatchObject({ code: Code.InvalidArgument, reason: "FIELD_INVALID" });
    expect(refused.fields).toEqual(
      [
        "holder",
        'labels["key"]',
        'labels["Not A Key"]',
        "branch",
        "author.name",
        "author.email",
        "ttl",
        "wait",
        "max_staleness",
      ].sort(),
    );
    expect(refused.descriptions.filter((text) => /256 bytes/.test(text))).toHaveLength(3);
  });

  it("A4 a TTL of 0 or of a year is clamped, and the granted one is told", async () => {
    for (const [ttlMs, seconds] of [
      [0, 5n],
      [365 * 24 * 3600_000, 24n * 3600n],
    ] as const) {
      const held = await client.acquire({ repository: "tools", ttlMs });
      const { leaseId, leaseToken, answer } = held;
      expect(answer.lease?.ttl).toMatchObject({ seconds, nanos: 0 });
      const heartbeat = await client.workspaces.heartbeat({ leaseId, leaseToken, ttl: durationFromMs(ttlMs) });
      expect(heartbeat.lease?.ttl).toMatchObject({ seconds, nanos: 0 });
      // what a heartbeat asked for is kept by those that ask for nothing
      expect((await client.heartbeat(held)).lease?.ttl).toMatchObject({ seconds, nanos: 0 });
      await client.release(held);
    }
  });

  it.each([
    ["ext::sh -c true", "FIELD_INVALID"],
    ["ext::true", "UPSTREAM_NOT_ALLOWED"],
    ["ftp://example.com/x.git", "UPSTREAM_NOT_ALLOWED"],
    ["https://user:secret@example.com/x.git", "FIELD_INVALID"],
    ["https://user@example.com/x.git", "FIELD_INVALID"],
    ["-oProxyCommand=x:y", "FIELD_INVALID"],
    ["ssh://-oProxyCommand=x/y", "FIELD_INVALID"],
    ["/srv/../etc", "FIELD_INVALID"],
    ["relative/path", "FIELD_INVALID"],
  ])("B3 the URL %j is INVALID_ARGUMENT (%s), and nothing is registered", async (url, reason) => {
    const before = await registered();
    const refused = await acquire({ repository: url });
    expect(refused).toMatchObject({ code: Code.InvalidArgument, reason });
    expect(JSON.stringify(refused)).not.toContain("secret");
    const again = await refusal(client.admin.registerRepository({ repository: { url } }));
    expect(again).toMatchObject({ code: Code.InvalidArgument, reason });
    if (url.includes("secret")) expect(again.descriptions.join()).toContain("server's configuration");
    expect(await registered()).toEqual(before);
  });

  it("G3 a name that is taken is REPOSITORY_EXISTS, and the same registration again is answered", async () => {
    const { url } = await Upstream.make(root, "twice");
    const repository = { name: "twice", url, minIdle: 0 };
    await client.admin.registerRepository({ repository });
    await client.admin.registerRepository({ repository });
    const exists = { code: Code.AlreadyExists, reason: "REPOSITORY_EXISTS", metadata: { repository: "twice" } };
    for (const change of [{ maxWorkspaces: 7 }, { name: "other" }, { url: `${url}2` }]) {
      const refused = await refusal(client.admin.registerRepository({ repository: { ...repository, ...change } }));
      expect(refused).toMatchObject(exists);
    }
  });

  it("A4 a request id with other fields is REQUEST_ID_REUSED, but another wait is the same request", async () => {
    const requestId = "request-1";
    const held = await client.acquire({ repository: "tools", requestId, holder: "one" });
    expect(await acquire({ requestId, holder: "two" })).toMatchObject({
      code: Code.InvalidArgument,
      reason: "REQUEST_ID_REUSED",
    });
    const again = await client.acquire({ repository: "tools", requestId, holder: "one", waitMs: 5_000 });
    expect(again.leaseToken).toBe(held.leaseToken);
    await client.release(held);
    const late = await acquire({ requestId, holder: "one" });
    expect(late).toMatchObject({ reason: "LEASE_LOST", metadata: { end_reason: "RELEASED" } });
  });
});

describe("tokens", () => {
  const everywhere = (held: Pick<Held, "leaseId" | "leaseToken">) =>
    Promise.all([refusal(client.heartbeat(held)), refusal(client.release(held))]);

  it("A4 a token of another lease, truncated, garbled, or none is TOKEN_INVALID, and nothing changes", async () => {
    const [mine, other] = await Promise.all([1, 2].map(() => client.acquire({ repository: "tools" })));
    if (!mine || !other) throw new Error("two leases");
    const { leaseId, leaseToken } = mine;
    const end = leaseToken.slice(leaseToken.lastIndexOf(".") + 1);
    const forged = [
      other.leaseToken,
      leaseToken.slice(0, -1),
      `${leaseToken}x`,
      leaseToken.replace(/.$/, (last) => (last === "A" ? "B" : "A")),
      end,
      `${mine.workspaceId}.${mine.fence + 1n}.${end}`,
      leaseId,
      "garbage",
      "\0",
      "🦊".repeat(100),
    ];
    const before = await versions(mine, other);
    for (const token of forged) {
      for (const refused of await everywhere({ leaseId, leaseToken: token })) {
        expect(refused).toMatchObject({ code: Code.PermissionDenied, reason: "TOKEN_INVALID" });
      }
    }
    // what exists and what does not is refused alike
    for (const id of [other.leaseId, "w999999.1", "junk", `${leaseId} `]) {
      for (const refused of await everywhere({ leaseId: id, leaseToken })) {
        expect(refused).toMatchObject({ code: Code.PermissionDenied, reason: "TOKEN_INVALID" });
      }
    }
    expect(await versions(mine, other)).toEqual(before);
    await client.heartbeat(mine);
    await Promise.all([client.release(mine), client.release(other)]);
  });

  it("A4 a token of an older fence is LEASE_LOST everywhere, and the new holder does not notice", async () => {
    // of one workspace, so that there is no other to be handed out
    const { url } = await Upstream.make(root, "single");
    await client.admin.registerRepository({ repository: { name: "single", url, maxWorkspaces: 1 } });
    const old = await client.acquire({ repository: "single" });
    await client.releaseAndClean(old);
    const now = await client.acquire({ repository: "single" });
    expect(now.workspaceId).toBe(old.workspaceId);
    const before = await versions(now);
    expect(await refusal(client.heartbeat(old))).toMatchObject({
      code: Code.FailedPrecondition,
      reason: "LEASE_LOST",
      metadata: { lease_id: old.leaseId, end_reason: "RELEASED" },
    });
    expect((await client.release(old, { waitForClean: true })).alreadyReleased).toBe(true);
    expect(await versions(now)).toEqual(before);
    await client.workspaces.reset({ workspaceId: now.workspaceId, force: true });
    await client.whenIn(now.workspaceId, WorkspaceState.IDLE);
    const latest = await client.acquire({ repository: "single" });
    for (const refused of await everywhere(now)) {
      expect(refused).toMatchObject({ reason: "LEASE_LOST", metadata: { end_reason: "RESET" } });
    }
    await client.heartbeat(latest);
    await client.release(latest);
  });
});

it("B3 a refusal says the same over Connect's JSON", async () => {
  const response = await fetch(`${server.address}/leasehold.v1.WorkspaceService/Acquire`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ repository: "nothing" }),
  });
  expect(response.status).toBe(404);
  expect(await response.json()).toMatchObject({
    code: "not_found",
    details: [{ debug: { domain: "leasehold", reason: "REPOSITORY_NOT_FOUND", metadata: { repository: "nothing" } } }],
  });
});

it("neither a lease token nor a request id is in the log or in an event", async () => {
  const requestId = "a-request-id-that-nobody-else-knows";
  const held = await client.acquire({ repository: "tools", requestId });
  await client.heartbeat(held);
  await client.release(held);
  await client.release({ ...held, leaseToken: `${held.leaseToken}x` }).catch(() => {});
  const secrets = [requestId, held.leaseToken.slice(held.leaseToken.lastIndexOf(".") + 1)];
  const seen = `${server.log.join("\n")}${shown(await client.events())}`;
  expect(seen).toContain(held.leaseId);
  for (const secret of secrets) expect(seen).not.toContain(secret);
});
