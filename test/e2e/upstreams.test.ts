/** Upstreams that are away, hang, refuse or are none: who is at fault is told, within a limit, and the rest goes on. */
import { chmod, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Duration, durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { beforeAll, expect, it } from "vitest";
import { RepositoryState } from "../../gen/leasehold/v1/repository_pb.js";
import { deadPort, type GitHttp, listenSilently, serveGit } from "../support/git-http.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

/** Limit of the server for any call upstream, and what a refusal may take at most on a slow machine. */
const limit = "2s";
const limitMs = 2_000;
const slackMs = 8_000;

const servers = useServers();
let client: Client;
let root: string;
let web: GitHttp;

beforeAll(async () => {
  root = await servers.directory();
  web = await serveGit(root);
  servers.atEnd(() => web.close());
  const flags = ["--upstream-timeout", limit, "--first-clone-timeout", limit];
  client = (await servers.start({ flags })).client;
});

/** How an Acquire is refused, which it must be in time. */
async function refusedInTime(repository: string, fields: Parameters<Client["acquire"]>[0] = {}) {
  const start = performance.now();
  const refused = await refusal(client.acquire({ repository, ...fields }));
  expect(performance.now() - start).toBeLessThan(limitMs + slackMs);
  return refused;
}

const unavailable = { code: Code.Unavailable, reason: "UPSTREAM_UNAVAILABLE" };
const denied = { code: Code.FailedPrecondition, reason: "UPSTREAM_DENIED" };

it("B3 an upstream where nobody listens, that hangs, or whose name is unknown is UPSTREAM_UNAVAILABLE in time", async () => {
  const silent = await listenSilently();
  servers.atEnd(() => silent.close());
  const urls = [
    `http://127.0.0.1:${await deadPort()}/x.git`,
    `http://127.0.0.1:${silent.port}/x.git`,
    `ssh://git@127.0.0.1:${silent.port}/x.git`,
    "http://host.invalid/x.git",
  ];
  const all = await Promise.all(urls.map((url) => refusedInTime(url)));
  for (const refused of all) expect(refused).toMatchObject(unavailable);
});

it("B3 a directory that is no repository, a missing one, and a web page are UPSTREAM_UNAVAILABLE, without its path", async () => {
  await mkdir(join(root, "plain.git"));
  await writeFile(join(root, "plain.git", "HEAD"), "not a ref\n");
  for (const url of [join(root, "plain.git"), join(root, "missing.git"), web.url("missing"), web.url("plain")]) {
    const refused = await refusedInTime(url);
    expect(refused).toMatchObject(unavailable);
    expect(refused.message).not.toContain(root);
  }
});

it("B3 an upstream that wants a credential or refuses it is UPSTREAM_DENIED, and nothing of it is told", async () => {
  await Upstream.make(join(root, "private"), "secret");
  const guarded = await serveGit(join(root, "private"), { user: "robot", password: "hunter2" });
  servers.atEnd(() => guarded.close());
  const url = guarded.url("secret");
  expect(await refusedInTime(url)).toMatchObject(denied);

  const directory = await servers.directory();
  const entry = (name: string, file: string) =>
    `  - { name: ${name}, url_prefix: "${url}", username: robot, password_file: ${file} }\n`;
  const config = join(directory, "leasehold.yaml");
  await writeFile(join(directory, "right"), "hunter2\n");
  await writeFile(join(directory, "wrong"), "hunter3\n");
  await writeFile(
    config,
    `credentials:\n${entry("right", "right")}${entry("wrong", "wrong").replace(url, "http://none/")}`,
  );
  const other = await servers.start({ flags: ["--config", config, "--upstream-timeout", limit] });
  await other.client.admin.registerRepository({ repository: { name: "secret", url, credential: "wrong" } });
  const refused = await refusal(other.client.acquire({ repository: "secret" }));
  expect(refused).toMatchObject(denied);
  expect(JSON.stringify(refused)).not.toMatch(/hunter|robot/);
  await other.client.admin.updateRepository({
    name: "secret",
    repository: { credential: "" },
    updateMask: { paths: ["credential"] },
  });
  const held = await other.client.acquire({ repository: "secret" });
  expect(await git(held.path, "config", "--get", "remote.origin.url")).toBe(url);
  expect(await git(held.path, "config", "--list", "--local")).not.toMatch(/hunter|robot/);
  await expect(git(held.path, "fetch", "--quiet")).rejects.toThrow(/Authentication|terminal prompts disabled/);
  await other.client.release(held);
  expect(other.log.join("\n")).not.toMatch(/hunter/);
  await other.stop();
});

it("A2 B3 an upstream that fails later leaves the mirror: what needs no fetch goes on, the rest is told in time", async () => {
  const upstream = await Upstream.make(root, "flaky");
  const commit = await upstream.git("rev-parse", "HEAD");
  const url = web.url("flaky");
  await client.release(await client.acquire({ repository: url }));
  const known = web.asked("flaky");
  const goesOn = async () => {
    for (const fields of [{ revision: commit }, { maxStaleness: durationFromMs(3600_000) }]) {
      const held = await client.acquire({ repository: url, ...fields });
      expect(held.answer.resolvedCommit).toBe(commit);
      await client.release(held);
    }
  };
  await goesOn();
  expect(web.asked("flaky")).toBe(known);
  web.hold();
  try {
    expect(await refusedInTime(url)).toMatchObject(unavailable);
    await goesOn();
    expect(await refusedInTime(url, { revision: "0".repeat(40) })).toMatchObject(unavailable);
  } finally {
    web.release();
  }
  for (const [status, refusal] of [
    [500, unavailable],
    [404, unavailable],
    [401, denied],
    [403, denied],
  ] as const) {
    web.refuseWith(status);
    expect(await refusedInTime(url)).toMatchObject(refusal);
  }
  await goesOn();
  web.refuseWith(0);
  const newest = await upstream.commit({ "more.txt": "more\n" });
  const held = await client.acquire({ repository: url });
  expect(held.answer.resolvedCommit).toBe(newest);
  await client.release(held);
  const { repositories } = await client.admin.listRepositories({ name: "flaky" });
  expect(repositories).toMatchObject([{ state: RepositoryState.READY, problem: "" }]);
});

it("A1 an upstream that comes to be later is mirrored by the next Acquire, and its problem is told until then", async () => {
  const away = join(root, "later.git");
  const { url } = await Upstream.make(join(root, "elsewhere"), "later");
  await client.admin.registerRepository({ repository: { name: "later", url: away } });
  const failed = await until("it has failed", async () => {
    const { repositories } = await client.admin.listRepositories({ name: "later" });
    return repositories[0]?.state === RepositoryState.FAILED && repositories[0];
  });
  expect(failed.problem).not.toBe("");
  expect(failed.problem).not.toContain(root);
  expect(await refusedInTime("later")).toMatchObject(unavailable);
  await rename(url, away);
  await client.release(await client.acquire({ repository: "later" }));
});

it("A2 pushes to an upstream over HTTP work with the holder's own credential", async () => {
  await Upstream.make(root, "pushed");
  const bare = join(root, "pushed.git");
  await git(bare, "config", "http.receivepack", "true");
  await chmod(bare, 0o755);
  const held = await client.acquire({ repository: web.url("pushed") });
  await writeFile(join(held.path, "new.txt"), "new\n");
  await git(held.path, "add", "--all");
  await git(held.path, "commit", "--quiet", "--message", "New");
  await git(held.path, "push", "--quiet", "origin", "main");
  expect(await git(bare, "log", "-1", "--format=%s", "main")).toBe("New");
  await client.release(held);
});

it("A4 the TTL begins when the workspace is ready, and `elapsed` tells how long that took", async () => {
  await Upstream.make(root, "slow");
  web.hold();
  const sent = performance.now();
  const call = client.acquire({ repository: web.url("slow"), ttlMs: 5_000 });
  const slowMs = 1_500;
  await until("the upstream has been slow", () => performance.now() - sent > slowMs);
  web.release();
  const held = await call;
  const answered = performance.now() - sent;
  const elapsed = durationMs(held.answer.elapsed as Duration);
  const remaining = durationMs(held.answer.lease?.remaining as Duration);
  expect(elapsed).toBeGreaterThan(slowMs - 100);
  expect(elapsed).toBeLessThanOrEqual(answered);
  expect(remaining).toBeGreaterThan(5_000 - (answered - slowMs));
  expect(remaining).toBeLessThanOrEqual(5_000);
  await client.release(held);
});
