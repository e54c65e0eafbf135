/** What a holder gets, does and leaves, with the real server and the real git. */
import { access, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition, WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let upstream: Upstream;
let first: string;
let newest: string;

beforeAll(async () => {
  root = await servers.directory();
  upstream = await Upstream.make(root, "tools");
  first = await upstream.git("rev-parse", "HEAD");
  await upstream.git("tag", "v1");
  await upstream.git("tag", "--annotate", "--message", "Second", "v1-annotated");
  await upstream.git("push", "--quiet", "origin", "v1", "v1-annotated");
  await upstream.git("checkout", "--quiet", "-b", "topic/one");
  await upstream.commit({ "topic.txt": "topic\n" });
  await upstream.git("checkout", "--quiet", "main");
  newest = await upstream.commit({ "src/main.txt": "two\n" });
  server = await servers.start();
  client = server.client;
});

const missing = async (path: string) =>
  access(path).then(
    () => false,
    () => true,
  );

describe("a holder's time", () => {
  it("A1 A5 a lease is worked in, given back, and the next one is clean, elsewhere, and has what was pushed", async () => {
    const held = await client.acquire({ repository: upstream.url, holder: "worker 1" });
    expect(held.answer.lease).toMatchObject({ repository: "tools", holder: "worker 1", revision: "", commit: newest });
    expect(held.answer.workspace?.branch).toBe("main");
    expect(held.answer.source).toBe(WorkspaceSource.CREATED);
    await writeFile(join(held.path, "src/main.txt"), "three\n");
    await git(held.path, "commit", "--quiet", "--all", "--message", "From a workspace");
    await git(held.path, "push", "--quiet", "origin", "main");
    const pushed = await git(held.path, "rev-parse", "HEAD");
    await writeFile(join(held.path, "untracked.txt"), "left");
    await writeFile(join(held.path, "ignored.log"), "left");
    await git(held.path, "config", "core.hooksPath", "/tmp/hooks");
    const workspace = await client.releaseAndClean(held);
    expect(workspace.state).toBe(WorkspaceState.IDLE);

    const again = await client.acquire({ repository: "tools" });
    expect(again.workspaceId).toBe(held.workspaceId);
    expect(again.fence).toBeGreaterThan(held.fence);
    expect(again.path).not.toBe(held.path);
    expect(await missing(held.path)).toBe(true);
    expect(again.answer.lease?.commit).toBe(pushed);
    expect(await readFile(join(again.path, "src/main.txt"), "utf8")).toBe("three\n");
    expect(await git(again.path, "status", "--porcelain", "--ignored")).toBe("");
    expect(await git(again.path, "config", "--local", "--list")).not.toContain("hookspath");
    await client.releaseAndClean(again);
    newest = pushed;
    await upstream.git("pull", "--quiet", "origin", "main");
  });

  it("A3 B1 git in a workspace behaves as in a fresh clone, and nothing of it is borrowed", async () => {
    const held = await client.acquire({ repository: upstream.url });
    const clone = join(root, "clone");
    await git(root, "clone", "--quiet", upstream.url, clone);
    const same = async (...args: string[]) => expect(await git(held.path, ...args)).toBe(await git(clone, ...args));
    await same("status", "--branch", "--porcelain=v2");
    await same("log", "--all", "--format=%H %D %s");
    await same("for-each-ref", "--format=%(refname) %(objectname) %(upstream)");
    await same("remote", "--verbose");
    await same("ls-files", "--stage");
    await same("describe", "--tags", "--always");
    expect(await git(held.path, "fsck", "--full", "--strict")).not.toMatch(/error|missing|broken/);
    await upstream.commit({ "later.txt": "later\n" });
    await git(held.path, "fetch", "--quiet", "origin");
    newest = await git(held.path, "rev-parse", "origin/main");
    expect(newest).toBe(await upstream.git("rev-parse", "main"));
    await git(held.path, "gc", "--quiet", "--prune=now");
    expect(await missing(join(held.path, ".git/objects/info/alternates"))).toBe(true);
    expect((await readdir(join(held.path, ".git"))).filter((name) => name.endsWith(".lock"))).toEqual([]);
    await client.releaseAndClean(held);
  });

  it.each([
    ["a branch", () => "topic/one", "topic/one"],
    ["a full ref", () => "refs/heads/topic/one", "topic/one"],
    ["a tag", () => "v1", ""],
    ["an annotated tag", () => "v1-annotated", ""],
    ["a commit", () => first, ""],
    ["a short commit", () => first.slice(0, 8), ""],
    ["nothing", () => "", "main"],
  ])("A2 %s is checked out, on its branch or detached", async (_what, revision, branch) => {
    const held = await client.acquire({ repository: "tools", revision: revision() });
    const wanted = branch ? `refs/remotes/origin/${branch}` : "v1^{commit}";
    expect(await git(held.path, "rev-parse", "HEAD")).toBe(await git(held.path, "rev-parse", wanted));
    expect(held.answer.resolvedCommit).toBe(await git(held.path, "rev-parse", "HEAD"));
    expect(await git(held.path, "branch", "--show-current")).toBe(branch);
    expect(held.answer.workspace?.branch).toBe(branch);
    if (branch) expect(await git(held.path, "rev-parse", "--abbrev-ref", "@{upstream}")).toBe(`origin/${branch}`);
    expect(await git(held.path, "status", "--porcelain", "--ignored")).toBe("");
    await client.releaseAndClean(held);
  });

  it("A3 a new branch and an author are there for the holder and gone for the next one", async () => {
    const author = { name: "Ann O'Thor", email: "ann@example.com" };
    const held = await client.acquire({ repository: "tools", revision: "v1", branch: "fix/one", author });
    expect(await git(held.path, "symbolic-ref", "HEAD")).toBe("refs/heads/fix/one");
    expect(await git(held.path, "rev-parse", "HEAD")).toBe(first);
    expect(await git(held.path, "config", "user.name")).toBe(author.name);
    expect(await git(held.path, "config", "user.email")).toBe(author.email);
    await expect(git(held.path, "rev-parse", "@{upstream}")).rejects.toThrow(/no upstream/);
    await client.releaseAndClean(held);
    const next = await client.acquire({ repository: "tools" });
    await expect(git(next.path, "config", "--local", "user.name")).rejects.toThrow();
    expect(await git(next.path, "branch", "--format=%(refname:short)")).toBe("main");
    await client.releaseAndClean(next);
  });

  it("A2 a branch that moved upstream is found moved at the next Acquire", async () => {
    const before = await client.acquire({ repository: "tools" });
    await client.releaseAndClean(before);
    newest = await upstream.commit({ "moved.txt": "moved\n" });
    const after = await client.acquire({ repository: "tools" });
    expect(after.answer.resolvedCommit).toBe(newest);
    expect(after.answer.source).toBe(WorkspaceSource.REUSED);
    expect(await readFile(join(after.path, "moved.txt"), "utf8")).toBe("moved\n");
    await client.releaseAndClean(after);
  });

  it("A2 a repository without commits is leased, and the first commit is pushed from it", async () => {
    const empty = await Upstream.empty(root, "empty", "trunk");
    const held = await client.acquire({ repository: empty.url });
    expect(held.answer.resolvedCommit).toBe("");
    expect(await git(held.path, "status", "--porcelain", "--ignored")).toBe("");
    await writeFile(join(held.path, "first.txt"), "first\n");
    await git(held.path, "add", "--all");
    await git(held.path, "commit", "--quiet", "--message", "First");
    await git(held.path, "push", "--quiet", "origin", "HEAD:refs/heads/trunk");
    await client.releaseAndClean(held);
    const next = await client.acquire({ repository: empty.url });
    expect(await readFile(join(next.path, "first.txt"), "utf8")).toBe("first\n");
    expect(await git(next.path, "branch", "--show-current")).toBe("trunk");
    await client.releaseAndClean(next);
  });

  it("B2 a directory that was deleted by hand is replaced in the same call", async () => {
    const held = await client.acquire({ repository: "tools" });
    const idle = await client.releaseAndClean(held);
    await rm(idle.path, { recursive: true });
    const next = await client.acquire({ repository: "tools" });
    expect(next.workspaceId).toBe(held.workspaceId);
    expect(next.answer.source).toBe(WorkspaceSource.CREATED);
    expect(await git(next.path, "status", "--porcelain", "--ignored")).toBe("");
    expect(await git(next.path, "rev-parse", "HEAD")).toBe(newest);
    await rm(next.path, { recursive: true });
    const workspace = await client.releaseAndClean(next);
    expect(workspace.state).toBe(WorkspaceState.IDLE);
    expect(await git(workspace.path, "status", "--porcelain")).toBe("");
  });

  it("A5 a released lease with DISCARD takes its directory with it", async () => {
    const held = await client.acquire({ repository: "tools" });
    await client.release(held, { disposition: Disposition.DISCARD, waitForClean: true });
    await client.whenIn(held.workspaceId, WorkspaceState.RETIRED);
    expect(await missing(held.path)).toBe(true);
    const next = await client.acquire({ repository: "tools" });
    expect(next.workspaceId).not.toBe(held.workspaceId);
    await client.releaseAndClean(next);
  });

  it("A5 a second Release with the same token is answered, and changes nothing", async () => {
    const held = await client.acquire({ repository: "tools" });
    expect((await client.release(held)).alreadyReleased).toBe(false);
    expect((await client.release(held)).alreadyReleased).toBe(true);
    const idle = await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
    expect((await client.release(held, { waitForClean: true })).alreadyReleased).toBe(true);
    expect((await client.get(held.workspaceId)).fence).toBe(idle.fence);
    expect(await refusal(client.heartbeat(held))).toMatchObject({
      reason: "LEASE_LOST",
      metadata: { end_reason: "RELEASED", lease_id: held.leaseId },
    });
  });

  it("A5 a waited-for Release answers what its own cleaning came to, and nothing of the next holder", async () => {
    const { url } = await Upstream.make(root, "one");
    await client.admin.registerRepository({ repository: { name: "one", url, maxWorkspaces: 1 } });
    for (let round = 0; round < 5; round++) {
      const held = await client.acquire({ repository: "one", waitMs: 20_000 });
      const next = client.acquire({ repository: "one", waitMs: 20_000 });
      const { workspace } = await client.release(held, { waitForClean: true });
      expect(workspace?.lease).toBeUndefined();
      await client.release(await next);
    }
  });
});
