/** Git LFS: a workspace has the contents, as git-lfs would have put them. */
import { mkdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { VerificationOutcome } from "../../gen/leasehold/v1/admin_service_pb.js";
import { big, expectContents, oidOf, withContents } from "../support/lfs-contents.js";
import { type LfsServer, pointerOf, serveLfs } from "../support/lfs-server.js";
import type { Client } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { addSubmodule } from "../support/submodules.js";
import { salvagesOf } from "../support/unsaved.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let client: Client;
let root: string;
let web: LfsServer;

beforeAll(async () => {
  root = await servers.directory();
  web = await serveLfs(root, {});
  servers.atEnd(() => web.close());
  ({ client } = await servers.start());
});

describe("a repository that uses Git LFS", { timeout: 60_000 }, () => {
  it("A5 has its contents in every lease, and what a holder did to them is neither left nor lost", async () => {
    const { name, upstream } = await withContents(root, web);
    const url = web.url(name);
    const first = await client.acquire({ repository: url });
    await expectContents(first.path, { "big.bin": big, "deep/small.bin": "small" });
    expect(await readFile(join(first.path, "plain.bin"), "utf8")).toBe(pointerOf("not to be fetched"));
    expect(await readFile(join(first.path, "other.txt"), "utf8")).toBe(pointerOf("not to be fetched either"));
    await utimes(join(first.path, "big.bin"), 1, 1);
    await client.releaseAndClean(first);
    expect(await salvagesOf(client, { leaseId: first.leaseId })).toEqual([]);

    const second = await client.acquire({ repository: url });
    expect(second.workspaceId).toBe(first.workspaceId);
    await expectContents(second.path, { "big.bin": big, "deep/small.bin": "small" });
    await writeFile(join(second.path, "big.bin"), "changed by its holder");
    const own = oidOf("never pushed");
    await mkdir(join(second.path, ".git/lfs/objects", own.slice(0, 2), own.slice(2, 4)), { recursive: true });
    await writeFile(join(second.path, ".git/lfs/objects", own.slice(0, 2), own.slice(2, 4), own), "never pushed");
    await rm(join(second.path, "deep"), { recursive: true });
    await client.releaseAndClean(second);
    const [salvage] = await salvagesOf(client, { leaseId: second.leaseId });
    const shown = (path: string) => git(salvage?.repositoryPath ?? "", "show", `${salvage?.commit}:${path}`);
    expect(await shown("big.bin")).toBe("changed by its holder");
    expect(await shown(`.git.salvaged/lfs/objects/${own.slice(0, 2)}/${own.slice(2, 4)}/${own}`)).toBe("never pushed");

    await upstream.commit({ "deep/small.bin": web.add("smaller"), "deep/new.bin": web.add("new") });
    const third = await client.acquire({ repository: url });
    await expectContents(third.path, { "big.bin": big, "deep/small.bin": "smaller", "deep/new.bin": "new" });
    await client.releaseAndClean(third);
    const { results } = await client.admin.verifyWorkspaces({ repository: third.answer.workspace?.repository ?? "" });
    expect(results.map(({ outcome, findings }) => [outcome, findings])).toEqual([[VerificationOutcome.PRISTINE, []]]);
  });

  it("A5 a commit that its holder did not push is saved with the content that it names", async () => {
    const { name } = await withContents(root, web);
    const held = await client.acquire({ repository: web.url(name) });
    await writeFile(join(held.path, "big.bin"), pointerOf("committed"));
    await git(held.path, "commit", "--quiet", "--all", "--message", "As git-lfs commits");
    await writeFile(join(held.path, "big.bin"), "committed");
    await client.releaseAndClean(held);
    const [salvage] = await salvagesOf(client, { leaseId: held.leaseId });
    expect(await git(salvage?.repositoryPath ?? "", "show", `${salvage?.commit}:big.bin`)).toBe("committed");
  });

  it("A5 has them in a submodule too, and where the upstream is a directory of this machine", async () => {
    const { name, upstream } = await withContents(root, web);
    const top = await Upstream.make(root, "top");
    await addSubmodule(top, upstream, `../${name}.git`, "sub");
    const held = await client.acquire({ repository: web.url("top") });
    expect(await readFile(join(held.path, "sub/big.bin"), "utf8")).toBe(big);
    expect(await git(held.path, "status", "--porcelain", "--ignored")).toBe("");
    await client.releaseAndClean(held);
    expect(await salvagesOf(client, { leaseId: held.leaseId })).toEqual([]);

    for (const content of [big, "small"]) {
      const oid = oidOf(content);
      const directory = join(upstream.url, "lfs/objects", oid.slice(0, 2), oid.slice(2, 4));
      await mkdir(directory, { recursive: true });
      await writeFile(join(directory, oid), content);
    }
    const local = await client.acquire({ repository: upstream.url });
    await expectContents(local.path, { "big.bin": big, "deep/small.bin": "small" });
  });
});
