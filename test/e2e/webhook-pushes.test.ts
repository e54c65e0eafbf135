/** A push that a forge tells of brings the mirrors of all hosts up to date, with few fetches. */
import { beforeAll, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { githubLike, noCommit } from "../forge/payloads.js";
import { post, signed, TestForge } from "../support/forge.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";

const servers = useServers();
let forge: TestForge;
let one: ServerProcess;
let two: ServerProcess;

beforeAll(async () => {
  forge = await TestForge.start(await servers.directory());
  servers.atEnd(() => forge.stop());
  const databaseUrl = await servers.database();
  const flags = ["--config", forge.config];
  one = await servers.start({ databaseUrl, host: "one", flags });
  two = await servers.start({ databaseUrl, host: "two", flags });
});

/** A registered repository with a mirror on each of the hosts, at its first commit. */
async function mirrored(name: string, hosts: readonly ServerProcess[]) {
  const { upstream, url, project } = await forge.repository(name);
  await one.client.admin.registerRepository({ repository: { name, url } });
  for (const server of hosts) {
    await server.client.releaseAndClean(await server.client.acquire({ repository: name, host: server.host }));
  }
  return { upstream, project, name };
}

/** Fetches that the upstream has been asked for. */
const fetches = (project: string) =>
  forge.git.requests.filter((line) => line.includes(`/${project}.git/info/refs`)).length;

/** How often the hosts' mirrors of it have changed. */
async function changes(repository: string): Promise<number> {
  const events = await one.client.events(1n, { repository, kinds: [EventKind.MIRROR_CHANGED] });
  return events.length;
}

it("D3 a push is fetched by every host that has the mirror, whichever server was told", async () => {
  const { upstream, project, name } = await mirrored("everywhere", [one, two]);
  const before = { changes: await changes(name), fetches: fetches(project) };
  const commit = await upstream.commit({ "a.txt": "a\n" });
  expect((await post(two, "ours", signed("forgejo", githubLike.push(project)))).status).toBe(202);
  await until("both mirrors have changed", async () => (await changes(name)) === before.changes + 2);
  expect(fetches(project)).toBe(before.fetches + 2);
  // what is known since nobody has to ask for: the upstream is gone, so to say
  for (const server of [one, two]) {
    const maxStaleness = { seconds: 3600n };
    const held = await server.client.acquire({ repository: name, host: server.host, maxStaleness });
    expect(held.answer.resolvedCommit).toBe(commit);
    await server.client.releaseAndClean(held);
  }
  expect(fetches(project)).toBe(before.fetches + 2);
}, 60_000);

it("D3 many pushes are few fetches, and the last of them is not missed", async () => {
  const { upstream, project, name } = await mirrored("often", [one]);
  const before = fetches(project);
  const pushes: Promise<unknown>[] = [];
  let commit = "";
  for (let round = 0; round < 5; round++) {
    commit = await upstream.commit({ "a.txt": `${round}\n` });
    for (let time = 0; time < 20; time++) pushes.push(post(one, "ours", signed("forgejo", githubLike.push(project))));
  }
  await Promise.all(pushes);
  await until("the last push is in the mirror", async () => {
    const maxStaleness = { seconds: 3600n };
    const held = await one.client.acquire({ repository: name, host: "one", maxStaleness });
    await one.client.releaseAndClean(held);
    return held.answer.resolvedCommit === commit;
  });
  expect(fetches(project) - before).toBeLessThanOrEqual(12);
}, 60_000);

it("D3 a push of a project that is not here, or on a host without its mirror, fetches nothing", async () => {
  const { upstream, project, name } = await mirrored("single", [one]);
  await upstream.commit({ "a.txt": "a\n" });
  const all = forge.git.requests.length;
  expect((await post(one, "ours", signed("forgejo", githubLike.push("owner/other")))).status).toBe(202);
  // of the same path, on another forge
  expect((await post(one, "github", signed("github", githubLike.push(project)))).status).toBe(202);
  const before = await changes(name);
  expect((await post(two, "ours", signed("forgejo", githubLike.push(project)))).status).toBe(202);
  await until("the one mirror has changed", async () => (await changes(name)) === before + 1);
  const info = forge.git.requests.slice(all).filter((line) => line.includes("info/refs"));
  expect(info).toHaveLength(1);
});

it("D3 a branch that was deleted is gone in the mirror as well", async () => {
  const { upstream, project, name } = await mirrored("branches", [one]);
  await upstream.git("push", "--quiet", "origin", "HEAD:refs/heads/topic");
  expect((await post(one, "ours", signed("forgejo", githubLike.push(project, "refs/heads/topic")))).status).toBe(202);
  await until("the mirror has the branch", async () => (await changes(name)) === 1);
  await upstream.git("push", "--quiet", "origin", ":refs/heads/topic");
  expect(
    (await post(one, "ours", signed("forgejo", githubLike.push(project, "refs/heads/topic", noCommit)))).status,
  ).toBe(202);
  await until("the mirror has it no more", async () => (await changes(name)) === 2);
});

it("D3 a push while the upstream is away is fetched when it is back", async () => {
  const { upstream, url, project } = await forge.repository("away");
  await one.client.admin.registerRepository({ repository: { name: "away", url } });
  await one.client.releaseAndClean(await one.client.acquire({ repository: "away", host: "one" }));
  await upstream.commit({ "a.txt": "a\n" });
  forge.git.away = true;
  const before = fetches(project);
  expect((await post(one, "ours", signed("forgejo", githubLike.push(project)))).status).toBe(202);
  await until("it was tried", () => fetches(project) > before);
  forge.git.away = false;
  await until("the mirror has changed", async () => (await changes("away")) === 1, 25_000);
}, 60_000);
