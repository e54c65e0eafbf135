/** Submodules: a workspace is what `git clone --recurse-submodules` gives, or the Acquire says why not. */
import { appendFile, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { cloneRecursively, describeClone, gitLocal } from "../support/recursive-clone.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { salvagesOf } from "../support/unsaved.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let client: Client;
let root: string;
let made = 0;

beforeAll(async () => {
  root = await servers.directory();
  client = (await servers.start()).client;
});

/** A repository `top` with `lib/mid`, which has `deep/inner`; all by relative URLs but the first's. */
async function nested() {
  const directory = join(root, `nested-${++made}`);
  const inner = await Upstream.make(directory, "inner");
  const mid = await Upstream.make(directory, "mid");
  await addSubmodule(mid, "../inner.git", "deep/inner");
  const top = await Upstream.make(directory, "top");
  await addSubmodule(top, "../mid.git", "lib/mid", "odd/name");
  return { directory, inner, mid, top };
}

async function addSubmodule(upstream: Upstream, url: string, path: string, name = path): Promise<string> {
  await upstream.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "--name", name, url, path);
  return upstream.commit({}, `Add ${path}`);
}

/** Takes a submodule of `upstream` to its upstream's tip. */
async function advance(upstream: Upstream, path: string): Promise<string> {
  await upstream.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--remote", "--init", path);
  return upstream.commit({}, `Advance ${path}`);
}

async function expectFresh(path: string, url: string): Promise<void> {
  const reference = await cloneRecursively(root, url, `reference-${++made}`);
  expect(await describeClone(path)).toEqual(await describeClone(reference));
}

describe("a workspace with submodules", () => {
  it("A5 is what a recursive clone gives, nested and by relative URLs, and again for the next holder", async () => {
    const { top } = await nested();
    const first = await client.acquire({ repository: top.url });
    await expectFresh(first.path, top.url);
    await client.releaseAndClean(first);
    expect(await salvagesOf(client, { leaseId: first.leaseId })).toEqual([]);
    const second = await client.acquire({ repository: top.url });
    expect(second.workspaceId).toBe(first.workspaceId);
    await expectFresh(second.path, top.url);
    await client.releaseAndClean(second);
  });
});
