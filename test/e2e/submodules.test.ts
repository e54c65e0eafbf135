/** Submodules: a workspace is what `git clone --recurse-submodules` gives, whatever its last holder did. */
import { appendFile, chmod, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { cloneRecursively, describeClone, gitLocal } from "../support/recursive-clone.js";
import type { Client, Held } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { addSubmodule, advance, nestedSubmodules } from "../support/submodules.js";
import { salvagesOf } from "../support/unsaved.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let client: Client;
let root: string;
let made = 0;

beforeAll(async () => {
  root = await servers.directory();
  client = (await servers.start()).client;
});

const nested = () => nestedSubmodules(join(root, `nested-${++made}`));

async function expectFresh(path: string, url: string, branch = ""): Promise<void> {
  const reference = await cloneRecursively(root, url, `reference-${++made}`, branch);
  expect(await describeClone(path)).toEqual(await describeClone(reference));
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

describe("a workspace with submodules", () => {
  it("A5 is what a recursive clone gives, nested and by relative URLs, and again for the next holder", async () => {
    const { top } = await nested();
    const first = await client.acquire({ repository: top.url });
    await expectFresh(first.path, top.url);
    await client.releaseAndClean(first);
    expect(await saved(first)).toBeUndefined();
    const second = await client.acquire({ repository: top.url });
    expect(second.workspaceId).toBe(first.workspaceId);
    await expectFresh(second.path, top.url);
    await client.releaseAndClean(second);
  });

  it("A5 follows the commits: a submodule that moves, appears, changes its URL, was a file, and goes", async () => {
    const { directory, inner, mid, top } = await nested();
    const url = top.url;
    const look = async () => {
      const held = await client.acquire({ repository: url });
      await expectFresh(held.path, url);
      await client.releaseAndClean(held);
      expect(await saved(held)).toBeUndefined();
    };
    await look();
    await inner.commit({ "new.txt": "new\n" });
    await advance(mid, "deep/inner");
    await advance(top, "lib/mid");
    await look();
    await top.commit({ "place/file.txt": "was a file\n" });
    await look();
    await top.git("rm", "-r", "--quiet", "place");
    await addSubmodule(top, "../inner.git", "place");
    await look();
    const other = await Upstream.make(directory, "other");
    await git(directory, "clone", "--quiet", "--bare", inner.url, join(directory, "moved.git"));
    await top.git("config", "--file", ".gitmodules", "submodule.place.url", "../moved.git");
    await top.commit({ "x.txt": other.url }, "Another URL");
    await look();
    await top.git("rm", "--quiet", "lib/mid");
    await top.commit({ "lib/mid": "a file again\n" }, "Gone");
    await look();
  });

  it("A5 has two submodules of one upstream at two commits, and leaves empty what git leaves empty", async () => {
    const { directory, inner, top } = await nested();
    await addSubmodule(top, "../inner.git", "one");
    await inner.commit({ "second.txt": "second\n" });
    await addSubmodule(top, "../inner.git", "two");
    await addSubmodule(top, "../inner.git", "skipped");
    await top.git("config", "--file", ".gitmodules", "submodule.skipped.update", "none");
    await top.commit({}, "Skip one");
    const orphan = await Upstream.make(directory, "orphan");
    const id = await inner.git("rev-parse", "HEAD");
    await orphan.git("update-index", "--add", "--cacheinfo", `160000,${id},nowhere`);
    await orphan.git("commit", "--quiet", "--message", "A gitlink without a URL");
    await orphan.git("push", "--quiet", "origin", "HEAD");
    const held = await client.acquire({ repository: top.url });
    await expectFresh(held.path, top.url);
    const bare = await client.acquire({ repository: orphan.url });
    expect(await git(bare.path, "status", "--porcelain", "--ignored")).toBe("");
    expect(await git(bare.path, "ls-files", "-s", "nowhere")).toContain(id);
  });

  it("A5 has nothing of what a holder did to a submodule's git directory, and runs none of it", async () => {
    const { top } = await nested();
    const held = await client.acquire({ repository: top.url });
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
    const next = await client.acquire({ repository: top.url });
    expect(next.workspaceId).toBe(held.workspaceId);
    await expectFresh(next.path, top.url);
    await expect(readFile(canary)).rejects.toThrow();
  });

  it("A5 writes nothing through a submodule that a holder replaced by a symlink", async () => {
    const { top } = await nested();
    const outside = join(root, `outside-${++made}`);
    await mkdir(join(outside, "deep/inner"), { recursive: true });
    await writeFile(join(outside, "deep/inner/README.md"), "untouched\n");
    const held = await client.acquire({ repository: top.url });
    await rm(join(held.path, "lib/mid"), { recursive: true });
    await symlink(outside, join(held.path, "lib/mid"));
    await client.releaseAndClean(held);
    const next = await client.acquire({ repository: top.url });
    await expectFresh(next.path, top.url);
    expect(await readFile(join(outside, "deep/inner/README.md"), "utf8")).toBe("untouched\n");
  });
});

describe("work in a submodule", () => {
  it("G2 is saved: changed and untracked files, staged ones, commits and stashes; ignored files are not", async () => {
    const { top } = await nested();
    const held = await client.acquire({ repository: top.url });
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

    const next = await client.acquire({ repository: top.url });
    await expectFresh(next.path, top.url);
    await client.releaseAndClean(next);
    const restored = await client.acquire({
      repository: top.url,
      restoreSalvageId: (await saved(held))?.salvageId ?? "",
    });
    expect(await readFile(join(restored.path, "lib/mid/src/main.txt"), "utf8")).toBe("changed\n");
    expect(await readFile(join(restored.path, "lib/mid/README.md"), "utf8")).toBe("# mid\n");
  });

  it("G2 is none where a holder only looked, built what is ignored, and fetched", async () => {
    const { inner, top } = await nested();
    const held = await client.acquire({ repository: top.url });
    await inner.commit({ "more.txt": "more\n" });
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
    const next = await client.acquire({ repository: top.url });
    await expectFresh(next.path, top.url);
  });
});
