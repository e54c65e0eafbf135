/** Dependencies are installed once for a fingerprint: what one lease installed is there for the next that asks for it. */
import { access, lstat, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { VerificationOutcome } from "../../gen/leasehold/v1/admin_service_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { Disposition } from "../../gen/leasehold/v1/workspace_service_pb.js";
import type { Sql } from "../../src/postgres/client.js";
import {
  acquireWith,
  dependenciesOf,
  giveBack,
  installOnce,
  makeUpstream,
  stateOf,
  write,
} from "../support/dependencies.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { git, type Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let sql: Sql;
let repositories = 0;
let name: string;
let upstream: Upstream;

beforeAll(async () => {
  root = await servers.directory();
  const databaseUrl = await servers.database();
  server = await servers.start({ databaseUrl });
  client = server.client;
  sql = servers.sql(databaseUrl);
});

beforeEach(async () => {
  name = `repository-${++repositories}`;
  upstream = await makeUpstream(root, name);
  await client.admin.registerRepository({ repository: { name, url: upstream.url } });
});

const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

/** Names of the sets that are kept for the repository. */
async function sets(): Promise<string[]> {
  const names = await readdir(join(server.dataDir, "dependencies", name)).catch(() => []);
  return names.filter((found) => found !== "caches").sort();
}

describe("what was installed", () => {
  it("A7 is MISSING, then READY for the same fingerprint, with the same files", async () => {
    const first = await acquireWith(client, name);
    expect(stateOf(first)).toBe("MISSING");
    await write(first.path, { "node_modules/left/index.js": "left\n", "node_modules/.bin/left": "run\n" });
    const { ino } = await stat(join(first.path, "node_modules/left/index.js"));
    await giveBack(client, first, true);
    const second = await acquireWith(client, name);
    expect(stateOf(second)).toBe("READY");
    expect(dependenciesOf(second).fingerprint).toBe(dependenciesOf(first).fingerprint);
    expect(second.answer.workspace?.fingerprint).toBe(dependenciesOf(first).fingerprint);
    expect(await readFile(join(second.path, "node_modules/left/index.js"), "utf8")).toBe("left\n");
    expect((await stat(join(second.path, "node_modules/left/index.js"))).ino).toBe(ino);
    expect(await git(second.path, "status", "--porcelain")).toBe("");
    // without another mark: what was in place stays marked
    await giveBack(client, second);
    const third = await acquireWith(client, name, { keepPaths: ["node_modules/"] });
    expect(stateOf(third)).toBe("READY");
    await giveBack(client, third);
  });

  it("A7 is CHANGED with the manifests that differ, and nothing of it is there", async () => {
    const before = await installOnce(client, name);
    await upstream.commit({ "package-lock.json": "{ }\n", "packages/b/package.json": "{}\n", "src/other.txt": "x\n" });
    const held = await acquireWith(client, name);
    expect(stateOf(held)).toBe("CHANGED");
    expect(dependenciesOf(held).changedManifests).toEqual(["package-lock.json", "packages/b/package.json"]);
    expect(dependenciesOf(held).fingerprint).not.toBe(dependenciesOf(before).fingerprint);
    expect(await isThere(join(held.path, "node_modules"))).toBe(false);
    expect(await sets()).toEqual([]);
    await giveBack(client, held);
    expect(stateOf(await acquireWith(client, name))).toBe("MISSING");
  });

  it("A7 stays for other commits that have the same manifests", async () => {
    await installOnce(client, name);
    await upstream.commit({ "src/other.txt": "x\n" });
    const held = await acquireWith(client, name);
    expect(stateOf(held)).toBe("READY");
    await giveBack(client, held);
  });

  it("A7 is not kept without the holder's word, and not after DISCARD", async () => {
    const unmarked = await acquireWith(client, name);
    await write(unmarked.path, { "node_modules/x.js": "x" });
    await giveBack(client, unmarked);
    const discarded = await acquireWith(client, name);
    expect(stateOf(discarded)).toBe("MISSING");
    await write(discarded.path, { "node_modules/x.js": "x" });
    await client.release(discarded, {
      dependenciesInstalled: true,
      disposition: Disposition.DISCARD,
      waitForClean: true,
    });
    expect(stateOf(await acquireWith(client, name))).toBe("MISSING");
  });

  it("A7 G2 is kept when the lease expires, if a heartbeat had marked it", async () => {
    const held = await acquireWith(client, name);
    await write(held.path, { "node_modules/x.js": "x" });
    await client.workspaces.heartbeat({
      leaseId: held.leaseId,
      leaseToken: held.leaseToken,
      dependenciesInstalled: true,
    });
    await sql`update leases set ttl = interval '1 ms', expire_time = clock_timestamp() - interval '1 second' where end_time is null`;
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
    expect(stateOf(await acquireWith(client, name))).toBe("READY");
  });

  it("A7 is not kept by a Reset, nor where the work could not be salvaged", async () => {
    const held = await acquireWith(client, name);
    await write(held.path, { "node_modules/x.js": "x" });
    await client.workspaces.heartbeat({
      leaseId: held.leaseId,
      leaseToken: held.leaseToken,
      dependenciesInstalled: true,
    });
    await client.workspaces.reset({ workspaceId: held.workspaceId, force: true });
    await client.whenIn(held.workspaceId, WorkspaceState.IDLE);
    const next = await acquireWith(client, name);
    expect(stateOf(next)).toBe("MISSING");
    await write(next.path, { "node_modules/x.js": "x" });
    // more than is salvaged: quarantined
    await git(next.path, "config", "core.bigFileThreshold", "1");
    await writeFile(join(next.path, "huge.bin"), Buffer.alloc(101 * 1024 * 1024));
    await client.release(next, { dependenciesInstalled: true });
    await client.whenIn(next.workspaceId, WorkspaceState.QUARANTINED);
    const path = (await client.get(next.workspaceId)).path;
    expect(await isThere(join(path, "node_modules/x.js"))).toBe(true);
    await rm(join(path, "huge.bin"));
    await client.workspaces.reset({ workspaceId: next.workspaceId });
    await client.whenIn(next.workspaceId, WorkspaceState.IDLE);
    expect(await sets()).toEqual([]);
  });
});

describe("who gets it", () => {
  it("G1 a lease that asks for none finds nothing, and an idle workspace is proven pristine", async () => {
    const held = await installOnce(client, name);
    const { results } = await client.admin.verifyWorkspaces({ repository: name });
    expect(results.map(({ outcome, findings }) => [VerificationOutcome[outcome], findings])).toEqual([
      ["PRISTINE", []],
    ]);
    const plain = await client.acquire({ repository: name });
    expect(plain.workspaceId).toBe(held.workspaceId);
    expect(plain.answer.dependencies).toBeUndefined();
    expect(await git(plain.path, "status", "--porcelain", "--ignored")).toBe("");
    await giveBack(client, plain);
    // other paths are another wish
    const other = await acquireWith(client, name, { keepPaths: [".venv"] });
    expect(stateOf(other)).toBe("MISSING");
    expect(await git(other.path, "status", "--porcelain", "--ignored")).toBe("");
    await giveBack(client, other);
    expect(stateOf(await acquireWith(client, name))).toBe("READY");
  });

  it("A7 of two leases at once, one has it and the other installs; both are kept then", async () => {
    await installOnce(client, name);
    const [a, b] = await Promise.all([acquireWith(client, name), acquireWith(client, name)]);
    expect([stateOf(a), stateOf(b)].sort()).toEqual(["MISSING", "READY"]);
    for (const held of [a, b]) {
      await write(held.path, { "node_modules/left/index.js": "left\n" });
      await giveBack(client, held, true);
    }
    expect(await sets()).toHaveLength(2);
    const again = await Promise.all([acquireWith(client, name), acquireWith(client, name)]);
    expect(again.map(stateOf)).toEqual(["READY", "READY"]);
  });

  it("A7 keeps no more sets of one kind than four, the latest", async () => {
    const held = await Promise.all([1, 2, 3, 4, 5, 6].map(() => acquireWith(client, name)));
    for (const one of held) {
      await write(one.path, { "node_modules/x.js": "x" });
      await giveBack(client, one, true);
    }
    expect(await sets()).toEqual(
      held
        .slice(2)
        .map(({ leaseId }) => leaseId)
        .sort(),
    );
  });

  it("A7 the cache's directory is the same for a fingerprint, and outlives leases", async () => {
    const first = await acquireWith(client, name);
    const { cachePath } = dependenciesOf(first);
    expect((await lstat(cachePath)).mode & 0o7777).toBe(0o700);
    await write(cachePath, { "blob.bin": "cached" });
    await giveBack(client, first);
    const second = await acquireWith(client, name);
    expect(dependenciesOf(second).cachePath).toBe(cachePath);
    expect(await readFile(join(cachePath, "blob.bin"), "utf8")).toBe("cached");
    await giveBack(client, second);
    const other = await acquireWith(client, name, { environment: { node: "22" } });
    expect(dependenciesOf(other).cachePath).not.toBe(cachePath);
    await giveBack(client, other);
  });

  it("A7 without paths to keep, READY says that the cache was marked", async () => {
    const wish = { keepPaths: [] as string[] };
    await installOnce(client, name);
    const first = await acquireWith(client, name, wish);
    expect(stateOf(first)).toBe("MISSING");
    await giveBack(client, first, true);
    const second = await acquireWith(client, name, wish);
    expect(stateOf(second)).toBe("READY");
    expect(await git(second.path, "status", "--porcelain", "--ignored")).toBe("");
    await giveBack(client, second);
    await upstream.commit({ "package.json": "{}\n" });
    const changed = await acquireWith(client, name, wish);
    expect([stateOf(changed), dependenciesOf(changed).changedManifests]).toEqual(["CHANGED", ["package.json"]]);
  });

  it("A7 a repeated request gets the same answer, and other wishes are another request", async () => {
    await installOnce(client, name);
    const requestId = `request-${name}`;
    const first = await acquireWith(client, name, { requestId });
    const again = await acquireWith(client, name, { requestId });
    expect(again.answer.dependencies).toEqual(first.answer.dependencies);
    expect(stateOf(again)).toBe("READY");
    expect(again.answer.workspace?.fingerprint).toBe(dependenciesOf(first).fingerprint);
    const reused = await refusal(acquireWith(client, name, { requestId, environment: { a: "b" } }));
    expect(reused.reason).toBe("REQUEST_ID_REUSED");
  });
});
