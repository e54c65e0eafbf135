/** That a revision is what its upstream says now, or said at most `max_staleness` ago, however often its name was asked for. */
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { beforeAll, expect, it } from "vitest";
import type { Client } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let client: Client;
let upstream: Upstream;

beforeAll(async () => {
  client = (await servers.start({ databaseUrl: await servers.database() })).client;
  upstream = await Upstream.make(await servers.directory(), "moving");
  await client.admin.registerRepository({ repository: { name: "moving", url: upstream.url } });
});

/** The commit that is leased, after which the lease is given back. */
async function commitOf(revision: string, staleMs = 0): Promise<string> {
  const held = await client.acquire({ repository: "moving", revision, maxStaleness: durationFromMs(staleMs) });
  await client.release(held);
  return held.answer.resolvedCommit;
}

it("A2 a branch that moves is found where it is, and with max_staleness where it was", async () => {
  const before = await commitOf("main");
  const after = await upstream.commit({ "a.txt": "moved\n" });
  expect(await commitOf("main", 3_600_000)).toBe(before);
  expect(await commitOf("main")).toBe(after);
  expect(await commitOf("main", 3_600_000)).toBe(after);
});

it("A2 a pull request that moves is found where it is, also between calls that may see an older one", async () => {
  const push = async (content: string) => {
    const commit = await upstream.commit({ "pull.txt": content });
    await upstream.git("push", "--quiet", "--force", "origin", "HEAD:refs/pull/1/head");
    return commit;
  };
  await upstream.git("checkout", "--quiet", "-b", "pull");
  for (const content of ["one\n", "two\n", "three\n"]) {
    const commit = await push(content);
    await upstream.git("push", "--quiet", "origin", "--delete", "pull");
    expect(await commitOf("refs/pull/1/head")).toBe(commit);
    expect(await commitOf("refs/pull/1/head", 3_600_000)).toBe(commit);
  }
});
