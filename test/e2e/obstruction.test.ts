/** What a holder leaves that cannot be cleaned, or that damaged what it shares: told to operators, repaired, never handed out. */
import { execFileSync } from "node:child_process";
import { appendFileSync, chmodSync, readdirSync, truncateSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { ObjectStorage } from "../../gen/leasehold/v1/repository_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import type { Client, Held } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let repositories = 0;

beforeAll(async () => {
  root = await servers.directory();
  server = await servers.start();
  client = server.client;
});

async function registered(objectStorage = ObjectStorage.UNSPECIFIED): Promise<string> {
  const name = `repository-${++repositories}`;
  const { url } = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url, objectStorage } });
  return name;
}

const isRoot = process.getuid?.() === 0;
const canFreeze = isRoot && attempt(() => execFileSync("lsattr", ["-d", "/tmp"], { stdio: "ignore" }));

function attempt(action: () => unknown): boolean {
  try {
    action();
    return true;
  } catch {
    return false;
  }
}

async function releaseInto(held: Held, state: WorkspaceState) {
  await client.workspaces.release({ leaseId: held.leaseId, leaseToken: held.leaseToken });
  return client.whenIn(held.workspaceId, state);
}

it.runIf(canFreeze)(
  "A5 an immutable file: quarantined at the first attempt, with the reason; clean after Reset",
  async () => {
    const held = await client.acquire({ repository: await registered() });
    await writeFile(join(held.path, "frozen"), "x");
    execFileSync("chattr", ["+i", join(held.path, "frozen")]);
    try {
      const { problem } = await releaseInto(held, WorkspaceState.QUARANTINED);
      expect(problem).toMatch(/cannot be cleaned: frozen cannot be changed or removed: .*immutable/);
    } finally {
      execFileSync("chattr", ["-R", "-f", "-i", server.dataDir]);
    }
    await client.workspaces.reset({ workspaceId: held.workspaceId });
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  },
);

it.runIf(isRoot && attempt(() => execFileSync("mountpoint", ["-q", "/"])))(
  "A5 a mount inside: quarantined with its place, and never entered",
  async () => {
    const held = await client.acquire({ repository: await registered() });
    const place = join(held.path, "here");
    const kept = await servers.directory();
    await writeFile(join(kept, "kept"), "kept");
    await mkdir(place);
    execFileSync("mount", ["--bind", kept, place]);
    try {
      const { problem } = await releaseInto(held, WorkspaceState.QUARANTINED);
      expect(problem).toMatch(/another file system is mounted at here/);
      expect(readdirSync(kept)).toEqual(["kept"]);
    } finally {
      execFileSync("umount", [place]);
    }
    await client.workspaces.reset({ workspaceId: held.workspaceId });
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
  },
);

const packs = (path: string): string[] => {
  const directory = join(path, ".git/objects/pack");
  return readdirSync(directory)
    .filter((name) => name.endsWith(".pack"))
    .map((name) => join(directory, name));
};

it("A5 with LINK, a holder that damages its packs: the mirror is made anew before the next hand-out", async () => {
  const repository = await registered(ObjectStorage.LINK);
  const held = await client.acquire({ repository });
  const other = await client.acquire({ repository });
  await client.releaseAndClean(other);
  for (const pack of packs(held.path)) {
    chmodSync(pack, 0o600);
    truncateSync(pack, 50);
    appendFileSync(pack, "damage");
  }
  await client.releaseAndClean(held);
  const [one, two] = [await client.acquire({ repository }), await client.acquire({ repository })];
  for (const { path } of [one, two]) {
    expect(await git(path, "fsck", "--full")).toBe("");
    expect(await git(path, "status", "--porcelain", "--ignored")).toBe("");
  }
  expect([one.workspaceId, two.workspaceId].sort()).toEqual([held.workspaceId, other.workspaceId].sort());
});
