/** Submodules: a workspace is what `git clone --recurse-submodules` gives, whatever its last holder did. */
import { appendFile, chmod, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { cloneRecursively, describeClone, gitLocal } from "../support/recursive-clone.js";
import type { Client, Held } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { nestedSubmodules } from "../support/submodules.js";
import { salvagesOf } from "../support/unsaved.js";
import { git, type Upstream } from "../support/upstream.js";

const servers = useServers();
let client: Client;
let root: string;
let url: string;
let upstream: Upstream;
let reference: ReturnType<typeof describeClone>;
let made = 0;

beforeAll(async () => {
  root = await servers.directory();
  client = (await servers.start()).client;
  const { directory, inner, top } = await nestedSubmodules(join(root, "nested"));
  upstream = inner;
  url = top.url;
  reference = describeClone(await cloneRecursively(directory, url, "reference"));
  reference.catch(() => {});
});

/** The workspace is what plain git made. */
async function expectFresh(path: string): Promise<void> {
  expect(await describeClone(path)).toEqual(await reference);
}

const saved = async ({ leaseId }: Held) => (await salvagesOf(client, { leaseId }))[0];

/** The files of a salvage, fetched by plain git. */
async function fetched(held: Held): Promise<string> {
  const salvage = await saved(held);
  if (!salvage) throw new Error("there is no salvage");
  const clone = join(root, `fetched-${++made}`);
  await git(root, "init", "--quiet", clone);
  await git(clone, "fetch", "--quiet", salvage.repositoryPath, `${salvage.ref}:refs/heads/salvage`);
  await git(clone, "checkout", "--quiet", "salvage");
  expect(await git(clone, "fsck", "--full", "--strict")).not.toMatch(/error|missing|broken/);
  return clone;
}

describe("a workspace with submodules", { timeout: 60_000 }, () => {
  it("A5 is what a recursive clone gives, nested and by relative URLs, and again for the next holder", async () => {
    const first = await client.acquire({ repository: url });
    await expectFresh(first.path);
    await client.releaseAndClean(first);
    expect(await saved(first)).toBeUndefined();
    const second = await client.acquire({ repository: url });
    expect(second.workspaceId).toBe(first.workspaceId);
    await expectFresh(second.path);
    await client.releaseAndClean(second);
  });

  it("A5 has nothing of what a holder did to a submodule's git directory, and runs none of it", async () => {
    const held = await client.acquire({ repository: url });
    const canary = join(root, `canary-${++made}`);
    const script = `#!/bin/sh\ntouch ${canary}\n`;
    for (const module of ["odd/name", "odd/name/modules/deep/inner"]) {
      const directory = join(held.path, ".git/modules", module);
      await writeFile(join(directory, "hooks/post-checkout"), script);
      await chmod(join(directory, "hooks/post-checkout"), 0o755);
      await appendFile(join(directory, "config"), `[core]\n\tfsmonitor = "touch ${canary}"\n\thooksPath = /tmp\n`);
      await appendFile(join(directory, "info/exclude"), "*\n");
      await writeFile(join(directory, "index.lock"), "");
    }
    await mkdir(join(held.path, ".git/modules/planted/objects"), { recursive: true });
    await writeFile(join(held.path, ".git/modules/planted/HEAD"), "ref: refs/heads/main\n");
    await client.releaseAndClean(held);
    const next = await client.acquire({ repository: url });
    expect(next.workspaceId).toBe(held.workspaceId);
    await expectFresh(next.path);
    await expect(readFile(canary)).rejects.toThrow();
  });

  it("A5 writes nothing through a submodule that a holder replaced by a symlink", async () => {
    const outside = join(root, `outside-${++made}`);
    await mkdir(join(outside, "deep/inner"), { recursive: true });
    await writeFile(join(outside, "deep/inner/README.md"), "untouched\n");
    const held = await client.acquire({ repository: url });
    await rm(join(held.path, "lib/mid"), { recursive: true });
    await symlink(outside, join(held.path, "lib/mid"));
    await client.releaseAndClean(held);
    const next = await client.acquire({ repository: url });
    await expectFresh(next.path);
    expect(await readFile(join(outside, "deep/inner/README.md"), "utf8")).toBe("untouched\n");
  });
});

describe("work in a submodule", { timeout: 60_000 }, () => {
  it("G2 is saved: changed and untracked files, staged ones, commits and stashes; ignored files are not", async () => {
    const held = await client.acquire({ repository: url });
    const mid = join(held.path, "lib/mid");
    const inner = join(mid, "deep/inner");
    await writeFile(join(inner, "committed.txt"), "committed\n");
    await git(inner, "add", "committed.txt");
    await git(inner, "commit", "--quiet", "--message", "Not pushed");
    const commit = await git(inner, "rev-parse", "HEAD");
    await writeFile(join(mid, "stashed.txt"), "stashed\n");
    await git(mid, "add", "stashed.txt");
    await git(mid, "stash", "--quiet");
    const stash = await git(mid, "rev-parse", "stash@{0}");
    await writeFile(join(mid, "src/main.txt"), "changed\n");
    await writeFile(join(mid, "untracked.txt"), "untracked\n");
    await writeFile(join(mid, "build.log"), "ignored\n");
    await writeFile(join(mid, "staged.txt"), "staged\n");
    await git(mid, "add", "staged.txt");
    await client.releaseAndClean(held);
    const clone = await fetched(held);
    const text = (name: string) => readFile(join(clone, "lib/mid", name), "utf8");
    expect(await text("src/main.txt")).toBe("changed\n");
    expect(await text("untracked.txt")).toBe("untracked\n");
    expect(await text("staged.txt")).toBe("staged\n");
    expect(await git(clone, "ls-files")).not.toMatch(/build\.log|README\.md\nlib\/mid\/README/);
    for (const id of [commit, stash]) expect(await git(clone, "merge-base", "--is-ancestor", id, "salvage")).toBe("");
    expect(await git(clone, "show", `${commit}:committed.txt`)).toBe("committed");
    expect((await saved(held))?.incomplete).toEqual([]);

    const next = await client.acquire({ repository: url });
    await expectFresh(next.path);
    await client.releaseAndClean(next);
    const restored = await client.acquire({
      repository: url,
      restoreSalvageId: (await saved(held))?.salvageId ?? "",
    });
    expect(await readFile(join(restored.path, "lib/mid/src/main.txt"), "utf8")).toBe("changed\n");
    expect(await readFile(join(restored.path, "lib/mid/README.md"), "utf8")).toBe("# mid\n");
  });

  it("G2 is a commit that only a branch of the submodule names", async () => {
    const held = await client.acquire({ repository: url });
    const inner = join(held.path, "lib/mid/deep/inner");
    const commit = await git(inner, "commit-tree", "-m", "On a branch alone", "HEAD^{tree}");
    await git(inner, "branch", "kept", commit);
    await client.releaseAndClean(held);
    const clone = await fetched(held);
    expect(await git(clone, "merge-base", "--is-ancestor", commit, "salvage")).toBe("");
  });

  it("G2 is none where a holder only looked, built what is ignored, and fetched", async () => {
    const held = await client.acquire({ repository: url });
    await upstream.commit({ "more.txt": "more\n" });
    await gitLocal(
      held.path,
      "submodule",
      "--quiet",
      "foreach",
      "--recursive",
      "git status; git fetch; touch build.log",
    );
    await rm(join(held.path, "lib/mid/src/main.txt"));
    await git(join(held.path, "lib/mid"), "checkout", "--", "src/main.txt");
    await client.releaseAndClean(held);
    expect(await saved(held)).toBeUndefined();
    const next = await client.acquire({ repository: url });
    expect(next.workspaceId).toBe(held.workspaceId);
    expect(await git(next.path, "status", "--porcelain", "--ignored")).toBe("");
    // refs of a submodule are those of its mirror, which is fetched when a commit is missing
    expect(await git(next.path, "submodule", "status", "--recursive")).toMatch(
      /^ \S+ lib\/mid .*\n \S+ lib\/mid\/deep\/inner/,
    );
  });
});
