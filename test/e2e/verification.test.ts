/** What is handed out was proven pristine before, and operators can have it proven again. */

import { statSync } from "node:fs";
import { appendFile, mkdir, rename, symlink, unlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { VerificationOutcome } from "../../gen/leasehold/v1/admin_service_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { leasehold } from "../support/command-line.js";
import type { Client } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let repositories = 0;
let root: string;
let name: string;

beforeAll(async () => {
  root = await servers.directory();
  server = await servers.start();
  client = server.client;
});

beforeEach(async () => {
  name = `verified-${++repositories}`;
  const { url } = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url } });
});

async function idle(): Promise<{ id: string; path: string }> {
  const held = await client.acquire({ repository: name });
  await client.releaseAndClean(held);
  const { workspace } = await client.workspaces.getWorkspace({ workspaceId: held.workspaceId });
  return { id: held.workspaceId, path: workspace?.path ?? "" };
}

const verify = async (id: string) => (await client.admin.verifyWorkspaces({ workspaceIds: [id] })).results[0];

it("G1 Acquire answers when the workspace was verified, after its last holder", async () => {
  const first = await client.workspaces.acquire({ repository: name });
  expect(first.verifyTime).toBeDefined();
  const { lease, leaseToken } = first;
  await client.workspaces.release({ leaseId: lease?.leaseId ?? "", leaseToken, waitForClean: true });
  const second = await client.workspaces.acquire({ repository: name });
  expect(second.workspace?.workspaceId).toBe(first.workspace?.workspaceId);
  const ended = await client.workspaces.getWorkspace({ workspaceId: first.workspace?.workspaceId ?? "" });
  expect(ended.workspace?.verifyTime).toEqual(second.verifyTime);
  expect(Number(second.verifyTime?.seconds)).toBeGreaterThanOrEqual(Number(first.verifyTime?.seconds));
  expect(second.verifyTime).not.toEqual(first.verifyTime);
});

const tampering: Record<string, { readonly act: (path: string) => Promise<unknown>; readonly finding: RegExp }> = {
  "a file that nobody tracks": {
    act: (path) => writeFile(join(path, "new"), ""),
    finding: /^new: /,
  },
  "a changed file whose times were put back": {
    act: async (path) => {
      const file = join(path, "README.md");
      const { atime, mtime, size } = statSync(file);
      await writeFile(file, "x".repeat(size));
      await utimes(file, atime, mtime);
    },
    finding: /^README\.md: /,
  },
  "a missing file": { act: (path) => unlink(join(path, "src/main.txt")), finding: /^src\/main\.txt: is missing/ },
  "a directory that is a symlink": {
    act: async (path) => {
      await rename(join(path, "src"), join(root, `moved-${name}`));
      await symlink(join(root, `moved-${name}`), join(path, "src"));
    },
    finding: /^src/,
  },
  "a hook": {
    act: (path) => writeFile(join(path, ".git/hooks/post-checkout"), "#!/bin/sh\n", { mode: 0o755 }),
    finding: /^\.git\/hooks\/post-checkout: /,
  },
  "a setting": {
    act: (path) => appendFile(join(path, ".git/config"), "[core]\n\tfsmonitor = /bin/evil\n"),
    finding: /^\.git\/config: /,
  },
  "borrowed objects": {
    act: (path) => writeFile(join(path, ".git/objects/info/alternates"), "/tmp\n"),
    finding: /^\.git\/objects\/info\/alternates: /,
  },
  "a linked worktree": {
    act: (path) => mkdir(join(path, ".git/worktrees/x"), { recursive: true }),
    finding: /^\.git\/worktrees: /,
  },
};

it.each(Object.keys(tampering))("G1 VerifyWorkspaces finds %s, and the workspace is made anew", async (kind) => {
  const { id, path } = await idle();
  expect(await verify(id)).toMatchObject({ outcome: VerificationOutcome.PRISTINE, findings: [] });
  const { act, finding } = tampering[kind] as (typeof tampering)[string];
  await act(path);
  const found = await verify(id);
  expect(found).toMatchObject({ outcome: VerificationOutcome.DIFFERS });
  expect(
    found?.findings.some((text) => finding.test(text)),
    found?.findings.join("; "),
  ).toBe(true);
  await client.whenIn(id, WorkspaceState.IDLE);
  expect(await verify(id)).toMatchObject({ outcome: VerificationOutcome.PRISTINE });
});

it("G1 a leased workspace is not looked at, an unknown one is named, and filters narrow", async () => {
  const held = await client.acquire({ repository: name });
  expect(await verify(held.workspaceId)).toMatchObject({ outcome: VerificationOutcome.SKIPPED, reason: "LEASED" });
  expect(await verify("w99999")).toMatchObject({
    outcome: VerificationOutcome.SKIPPED,
    reason: "WORKSPACE_NOT_FOUND",
    workspace: { workspaceId: "w99999" },
  });
  await client.releaseAndClean(held);
  const { results } = await client.admin.verifyWorkspaces({ repository: name });
  expect(results.map(({ workspace }) => workspace?.workspaceId)).toEqual([held.workspaceId]);
  await expect(client.admin.verifyWorkspaces({ repository: "nowhere" })).rejects.toThrow("no repository nowhere");
  await expect(client.admin.verifyWorkspaces({ host: "nowhere" })).rejects.toThrow("no host nowhere");
});

it("G1 leasehold doctor --verify tells the same and fails where something differs", async () => {
  const { id, path } = await idle();
  const doctor = () => leasehold(server.address, ["doctor", "--verify", "--data-dir", server.dataDir]);
  const well = await doctor();
  expect(well.stdout).toMatch(new RegExp(`ok +workspace ${id} ${name} `));
  await writeFile(join(path, "new"), "");
  const ill = await doctor();
  expect(ill.stdout).toMatch(new RegExp(`broken +workspace ${id} .*new: `));
  expect(ill.status).toBe(1);
});
