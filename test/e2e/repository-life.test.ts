/** A repository from its registration to its removal: what happens by itself, what is told of it, and what survives it. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { type Repository, RepositoryState } from "../../gen/leasehold/v1/repository_pb.js";
import { type GitHttp, serveGit } from "../support/git-http.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let web: GitHttp;

beforeAll(async () => {
  root = await servers.directory();
  web = await serveGit(root);
  servers.atEnd(() => web.close());
  server = await servers.start();
  client = server.client;
});

async function look(name: string): Promise<Repository> {
  const [repository] = (await client.admin.listRepositories({ name })).repositories;
  if (!repository) throw new Error(`no repository ${name}`);
  return repository;
}

function whenReady(name: string): Promise<Repository> {
  return until(`${name} is mirrored`, async () => {
    const repository = await look(name);
    return repository.state === RepositoryState.READY && repository;
  });
}

async function kindsOf(name: string): Promise<EventKind[]> {
  return (await client.events(1n, { repository: name })).map(({ kind }) => kind);
}

/** How often the server began to make a mirror of it. */
function makings(name: string): number {
  return server.log.filter((line) => line.includes("making the mirror") && line.includes(`"repository":"${name}"`))
    .length;
}

it("B5 a registered repository is mirrored behind the answer, and its idle workspaces are made when that has finished", async () => {
  await Upstream.make(root, "early");
  web.hold();
  const made = await client.admin.registerRepository({ repository: { url: web.url("early"), minIdle: 2 } });
  expect(made.repository).toMatchObject({ name: "early", state: RepositoryState.MIRRORING, problem: "" });
  await until("the mirror is asked for", () => web.asked("early") > 0);
  expect((await look("early")).workspaces).toMatchObject({ idle: 0, preparing: 0 });
  web.release();
  await whenReady("early");
  await until("they are idle", async () => (await look("early")).workspaces?.idle === 2);
  const kinds = await kindsOf("early");
  const { REPOSITORY_REGISTERED, MIRROR_PROGRESS, REPOSITORY_READY, WORKSPACE_CREATED, WORKSPACE_READY } = EventKind;
  const told = kinds.filter((kind) => kind !== MIRROR_PROGRESS);
  expect(told.slice(0, 2)).toEqual([REPOSITORY_REGISTERED, REPOSITORY_READY]);
  expect(told.slice(2).sort()).toEqual([WORKSPACE_CREATED, WORKSPACE_CREATED, WORKSPACE_READY, WORKSPACE_READY].sort());
  expect(kinds).toContain(MIRROR_PROGRESS);
  expect(makings("early")).toBe(1);
});

it("B6 a failure is the repository's problem and an event, is tried again by itself, and RefreshMirror tries at once", async () => {
  const url = web.url("late");
  await client.admin.registerRepository({ repository: { url } });
  const failed = await until("it has failed", async () => {
    const repository = await look("late");
    return repository.state === RepositoryState.FAILED && repository;
  });
  expect(failed.problem).toMatch(/upstream/);
  expect(await kindsOf("late")).toContain(EventKind.REPOSITORY_FAILED);
  const before = makings("late");
  const refused = await refusal(client.admin.refreshMirror({ repository: "late" }));
  expect(refused.reason).toBe("UPSTREAM_UNAVAILABLE");
  expect(makings("late")).toBe(before + 1);
  await Upstream.make(root, "late");
  const mended = await whenReady("late");
  expect(mended.problem).toBe("");
  expect(makings("late")).toBeGreaterThan(before + 1);
  const again = await client.admin.refreshMirror({ repository: "late" });
  expect(again.changed).toBe(false);
});

it("B5 an Acquire in the meantime waits for the mirror as long as its wait, and starts no second one", async () => {
  await Upstream.make(root, "awaited");
  web.hold();
  try {
    await client.admin.registerRepository({ repository: { url: web.url("awaited") } });
    await until("the mirror is asked for", () => web.asked("awaited") > 0);
    const patient = [1, 2, 3].map(() => client.acquire({ repository: "awaited", waitMs: 60_000 }));
    const refused = await refusal(client.acquire({ repository: "awaited", waitMs: 300 }));
    expect(refused).toMatchObject({ code: Code.Unavailable, reason: "REPOSITORY_FAILED" });
    expect(refused.metadata).toMatchObject({ repository: "awaited", state: "MIRRORING" });
    expect((await look("awaited")).state).toBe(RepositoryState.MIRRORING);
    web.release();
    const all = await Promise.all(patient);
    expect(new Set(all.map((held) => held.workspaceId)).size).toBe(3);
    for (const held of all) await client.release(held);
  } finally {
    web.release();
  }
  expect(makings("awaited")).toBe(1);
});

it("B5 UpdateRepository changes what the mask names and nothing else; a paused repository hands nothing out", async () => {
  const name = "changed";
  const { url } = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url, maxWorkspaces: 7, labels: { team: "a" } } });
  const update = (repository: { paused?: boolean; minIdle?: number; maxWorkspaces?: number }, ...paths: string[]) =>
    client.admin.updateRepository({ name, repository, updateMask: { paths } });
  await whenReady(name);
  const held = await client.acquire({ repository: name });
  const { repository } = await update({ paused: true, minIdle: 1, maxWorkspaces: 3 }, "paused", "min_idle");
  expect(repository).toMatchObject({ paused: true, minIdle: 1, maxWorkspaces: 7, labels: { team: "a" } });
  expect(await refusal(client.acquire({ repository: name }))).toMatchObject({ reason: "REPOSITORY_PAUSED" });
  expect((await client.heartbeat(held)).lease?.leaseId).toBe(held.leaseId);
  await client.releaseAndClean(held);
  // the one that came back is what it has: none was made ahead while it was paused
  expect(
    (await client.events(1n, { repository: name })).filter(({ kind }) => kind === EventKind.WORKSPACE_CREATED),
  ).toHaveLength(1);
  await update({ paused: false, minIdle: 2 }, "paused", "min_idle");
  await until("a second one is made", async () => (await look(name)).workspaces?.idle === 2);
  const wrong = await refusal(update({ minIdle: 8 }, "min_idle"));
  expect(wrong.reason).toBe("FIELD_INVALID");
});

it("B5 RemoveRepository is refused while leases live or salvages are kept, and says how many; salvages survive it by force", async () => {
  const name = "removed";
  const { url } = await Upstream.make(root, name);
  await client.admin.registerRepository({ repository: { name, url } });
  const first = await client.acquire({ repository: name, waitMs: 20_000 });
  await writeFile(join(first.path, "work.txt"), "work\n");
  const second = await client.acquire({ repository: name });
  await client.releaseAndClean(first);
  const remove = (force: boolean) => client.admin.removeRepository({ name, force });
  const both = await refusal(remove(false));
  expect(both).toMatchObject({ code: Code.FailedPrecondition, reason: "REPOSITORY_IN_USE" });
  expect(both.metadata).toMatchObject({ repository: name, leases: "1", quarantined: "0", salvages: "1" });
  await client.releaseAndClean(second);
  const one = await refusal(remove(false));
  expect(one.metadata).toMatchObject({ leases: "0", salvages: "1" });
  await remove(true);
  await until("it is gone", async () => (await client.admin.listRepositories({ name })).repositories.length === 0);
  const { salvages } = await client.admin.listSalvages({ repository: name });
  expect(salvages).toHaveLength(1);
  const [salvage] = salvages;
  if (!salvage) throw new Error("no salvage");
  const clone = await servers.directory();
  await git(clone, "init", "--quiet");
  await git(clone, "fetch", "--quiet", salvage.repositoryPath, salvage.ref);
  expect(await git(clone, "show", "FETCH_HEAD:work.txt")).toBe("work");
  const unknown = await refusal(client.acquire({ repository: name, restoreSalvageId: salvage.salvageId }));
  expect(unknown.reason).toBe("REPOSITORY_NOT_FOUND");
  await client.admin.registerRepository({ repository: { name, url } });
  const restored = await client.acquire({ repository: name, restoreSalvageId: salvage.salvageId, waitMs: 20_000 });
  expect(await git(restored.path, "status", "--short")).toBe("?? work.txt");
  await client.release(restored);
});
