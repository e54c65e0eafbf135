/** A push that a forge tells of is in the mirror soon, with few fetches, and what waits idle follows it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { WorkspaceSource } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { githubLike, noCommit } from "../forge/payloads.js";
import { changes, post, signed, TestForge } from "../support/forge.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";

const servers = useServers();
let forge: TestForge;
let server: ServerProcess;

beforeAll(async () => {
  forge = await TestForge.start(await servers.directory());
  servers.atEnd(() => forge.stop());
  server = await servers.start({ flags: ["--config", forge.config] });
});

it("D3 many pushes are few fetches, and the last of them is not missed", async () => {
  const { upstream, project, name } = await forge.mirrored("often", [server]);
  const before = forge.fetches(project);
  const pushes: Promise<unknown>[] = [];
  let commit = "";
  for (let round = 0; round < 5; round++) {
    commit = await upstream.commit({ "a.txt": `${round}\n` });
    for (let time = 0; time < 20; time++)
      pushes.push(post(server, "ours", signed("forgejo", githubLike.push(project))));
  }
  await Promise.all(pushes);
  await until("the last push is in the mirror", async () => {
    const maxStaleness = { seconds: 3600n };
    const held = await server.client.acquire({ repository: name, host: server.host, maxStaleness });
    await server.client.releaseAndClean(held);
    return held.answer.resolvedCommit === commit;
  });
  expect(forge.fetches(project) - before).toBeLessThanOrEqual(12);
}, 60_000);

it("D3 a branch that was deleted is gone in the mirror as well", async () => {
  const { upstream, project, name } = await forge.mirrored("branches", [server]);
  await upstream.git("push", "--quiet", "origin", "HEAD:refs/heads/topic");
  expect((await post(server, "ours", signed("forgejo", githubLike.push(project, "refs/heads/topic")))).status).toBe(
    202,
  );
  await until("the mirror has the branch", async () => (await changes(server, name)) === 1);
  await upstream.git("push", "--quiet", "origin", ":refs/heads/topic");
  expect(
    (await post(server, "ours", signed("forgejo", githubLike.push(project, "refs/heads/topic", noCommit)))).status,
  ).toBe(202);
  await until("the mirror has it no more", async () => (await changes(server, name)) === 2);
});

it("D3 a push while the upstream is away is fetched when it is back", async () => {
  const { upstream, url, project } = await forge.repository("away");
  await server.client.admin.registerRepository({ repository: { name: "away", url } });
  await server.client.releaseAndClean(await server.client.acquire({ repository: "away", host: server.host }));
  await upstream.commit({ "a.txt": "a\n" });
  forge.git.away = true;
  const before = forge.fetches(project);
  expect((await post(server, "ours", signed("forgejo", githubLike.push(project)))).status).toBe(202);
  await until("it was tried", () => forge.fetches(project) > before);
  forge.git.away = false;
  await until("the mirror has changed", async () => (await changes(server, "away")) === 1, 25_000);
}, 60_000);

it("D3 what waits idle is moved to what was pushed, one after the other, and is warm; leased ones are left alone", async () => {
  const { upstream, url, project } = await forge.repository("warm");
  await server.client.admin.registerRepository({ repository: { name: "warm", url, minIdle: 2 } });
  const held = await server.client.acquire({ repository: "warm", host: server.host });
  const states = [WorkspaceState.IDLE, WorkspaceState.CLEANING, WorkspaceState.PREPARING];
  const list = async () => (await server.client.workspaces.listActive({ repository: "warm", states })).workspaces;
  const idle = (commit: string) =>
    until(`two are idle at ${commit}`, async () => {
      const all = await list();
      return all.length === 2 && all.every((one) => one.state === WorkspaceState.IDLE && one.commit === commit) && all;
    });
  const before = await idle(held.answer.resolvedCommit);
  const commit = await upstream.commit({ "src/main.txt": "two\n" });
  expect((await post(server, "ours", signed("forgejo", githubLike.push(project)))).status).toBe(202);
  const after = await idle(commit);
  expect(after.map(({ workspaceId }) => workspaceId)).toEqual(before.map(({ workspaceId }) => workspaceId));
  expect((await server.client.get(held.workspaceId)).state).toBe(WorkspaceState.LEASED);
  const next = await server.client.acquire({ repository: "warm", host: server.host, maxStaleness: { seconds: 3600n } });
  expect(next.answer.resolvedCommit).toBe(commit);
  expect(next.answer.source).toBe(WorkspaceSource.WARM);
  expect(readFileSync(join(next.path, "src/main.txt"), "utf8")).toBe("two\n");
  const moved = await server.client.events(1n, { repository: "warm" });
  const claims = moved.filter(({ detail }) => detail === "to be moved to what was pushed");
  expect(claims.map(({ workspaceId }) => workspaceId).sort()).toEqual(
    after.map(({ workspaceId }) => workspaceId).sort(),
  );
  // one after the other: each is idle again before the next is taken
  const revisions = claims.map(({ revision, workspaceId }) => {
    const ready = moved.find(
      (one) => one.workspaceId === workspaceId && one.revision > revision && one.state === WorkspaceState.IDLE,
    );
    return [revision, ready?.revision ?? 0n] as const;
  });
  expect(revisions[1]?.[0]).toBeGreaterThan(revisions[0]?.[1] ?? 0n);
}, 60_000);
