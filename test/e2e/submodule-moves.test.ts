/** Submodules of commits that differ: a workspace goes from one to the other and is what a recursive clone gives. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { cloneRecursively, describeClone } from "../support/recursive-clone.js";
import type { Client } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { addSubmodule, commitFile, type NestedUpstreams, nestedSubmodules, pin } from "../support/submodules.js";
import { salvagesOf } from "../support/unsaved.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let client: Client;
let root: string;
let upstreams: NestedUpstreams;
let url: string;
let made = 0;

beforeAll(async () => {
  root = await servers.directory();
  client = (await servers.start()).client;
  upstreams = await nestedSubmodules(root);
  url = upstreams.top.url;
});

/** A lease's whole life: fresh, and nothing to be saved. */
async function expectFresh(of = url): Promise<void> {
  const held = await client.acquire({ repository: of });
  const reference = await cloneRecursively(root, of, `reference-${++made}`);
  expect(await describeClone(held.path)).toEqual(await describeClone(reference));
  await client.releaseAndClean(held);
  expect(await salvagesOf(client, { leaseId: held.leaseId })).toEqual([]);
}

describe("A5 a workspace is a recursive clone of the next commit, where a submodule", { timeout: 60_000 }, () => {
  it("is at another commit, and so is one within", async () => {
    const { inner, mid, top } = upstreams;
    await expectFresh();
    await pin(mid, "deep/inner", await inner.commit({ "new.txt": "new\n" }));
    await pin(top, "lib/mid", await mid.git("rev-parse", "HEAD"));
    await expectFresh();
  });

  it("stands where a file was, at another URL then", async () => {
    const { directory, inner, top } = upstreams;
    await commitFile(top, "place/file.txt", "was a file\n");
    await expectFresh();
    await top.git("rm", "-r", "--cached", "--quiet", "place");
    await addSubmodule(top, inner, "../inner.git", "place");
    await expectFresh();
    await git(directory, "clone", "--quiet", "--bare", inner.url, join(directory, "moved.git"));
    await addSubmodule(top, inner, "../moved.git", "place", "place", "HEAD~1");
    await expectFresh();
  });

  it("is gone and a file is there, one has an upstream of another's, one is not to be updated", async () => {
    const { inner, top } = upstreams;
    await top.git("rm", "--cached", "--quiet", "lib/mid");
    await top.git("config", "--file", ".gitmodules", "--remove-section", "submodule.odd/name");
    await top.git("config", "--file", ".gitmodules", "submodule.skipped.update", "none");
    await addSubmodule(top, inner, "../inner.git", "skipped");
    await addSubmodule(top, inner, "../inner.git", "one", "one", "HEAD~1");
    await addSubmodule(top, inner, "../inner.git", "two");
    await commitFile(top, "lib/mid", "a file\n");
    await expectFresh();
  });

  it("has no URL: it is left empty, as by git", async () => {
    const { directory, inner } = upstreams;
    const orphan = await Upstream.make(directory, "orphan");
    const id = await inner.git("rev-parse", "HEAD");
    await pin(orphan, "nowhere", id);
    const held = await client.acquire({ repository: orphan.url });
    expect(await git(held.path, "status", "--porcelain", "--ignored")).toBe("");
    expect(await git(held.path, "ls-files", "-s", "nowhere")).toContain(id);
  });
});
