/** Submodules that cannot be had, or that git would refuse: the Acquire says so, and nothing is checked out half. */
import { mkdir, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import { type GitHttp, serveGit } from "../support/git-http.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { addSubmodule, nestedSubmodules } from "../support/submodules.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let web: GitHttp;
let made = 0;

beforeAll(async () => {
  root = await servers.directory();
  web = await serveGit(root);
  servers.atEnd(() => web.close());
  server = await servers.start();
  client = server.client;
});

const quoted = (text: string) => `"${text.replace(/[\\"]/g, "\\$&")}"`;

/** An upstream whose tip has these words as `.gitmodules` and a gitlink at `path`, as no git would make it. */
async function crafted(gitmodules: string, path = "sub", commit = "1".repeat(40)): Promise<Upstream> {
  const upstream = await Upstream.make(root, `crafted-${++made}`);
  await upstream.commit({ ".gitmodules": gitmodules });
  await upstream.git("update-index", "--add", "--cacheinfo", `160000,${commit},${path}`);
  await upstream.git("commit", "--quiet", "--message", "A gitlink");
  await upstream.git("push", "--quiet", "origin", "HEAD");
  return upstream;
}

const section = (name: string, url: string, more = "") =>
  `[submodule ${quoted(name)}]\n\tpath = sub\n\turl = ${quoted(url)}\n${more}`;

async function problemOf(url: string): Promise<string> {
  const { repositories } = await client.admin.listRepositories({});
  return repositories.find((repository) => repository.url === url)?.problem ?? "none of that URL";
}

/** The Acquire is refused, no workspace is left half, and the repository has the problem. */
async function expectRefused(url: string, reason: string, words: RegExp): Promise<void> {
  const refused = await refusal(client.acquire({ repository: url }));
  expect(refused).toMatchObject({ reason });
  expect(refused.message).toMatch(words);
  await until("the problem is told", async () => words.test(await problemOf(url)));
  expect(
    (await client.workspaces.listActive({})).workspaces.filter(({ repository }) => repository.includes("crafted")),
  ).toEqual([]);
}

describe("a .gitmodules that git would refuse", { timeout: 60_000 }, () => {
  it.each([
    ["a name that leads out of .git/modules", section("../../x", "../any.git"), /leads out/],
    ["a URL that is an option", section("sub", "--upload-pack=touch"), /begins with '-'/],
    ["a transport helper", section("sub", "ext::sh"), /scheme/],
    ["a URL with a password", section("sub", "https://user:secret@host.invalid/x.git"), /password/],
    ["no URL", '[submodule "sub"]\n\tpath = sub\n', /no URL/],
    ["a URL that climbs beyond everything", section("sub", `${"../".repeat(40)}x`), /climbs too far/],
  ])("G1 is UPSTREAM_NOT_ALLOWED and the repository's problem: %s", async (_what, gitmodules, words) => {
    const upstream = await crafted(gitmodules);
    const { reason, message } = await refusal(client.acquire({ repository: upstream.url }));
    expect(reason).toBe("UPSTREAM_NOT_ALLOWED");
    expect(message).toMatch(words);
    expect(message).not.toContain("secret");
    await until("the problem is told", async () => words.test(await problemOf(upstream.url)));
    expect(await readdir(join(server.dataDir, "workspaces")).catch(() => [])).toEqual([]);
  });
});

describe("a submodule that cannot be had", { timeout: 60_000 }, () => {
  it("G1 a local path below a repository of another host is not allowed, nor is file://", async () => {
    const secret = await Upstream.make(root, "secret");
    for (const local of [secret.url, `file://${secret.url}`]) {
      const upstream = await crafted(section("sub", local), "sub", await secret.git("rev-parse", "HEAD"));
      const url = web.url(upstream.url.slice(root.length + 1, -".git".length));
      await expectRefused(url, "UPSTREAM_NOT_ALLOWED", /local path/);
    }
  });

  it("G1 a vanished upstream, a commit that it has not, one on no branch, and a submodule of itself", async () => {
    const { inner, mid, top } = await nestedSubmodules(join(root, "vanishing"));
    await rename(inner.url, `${inner.url}.away`);
    await expectRefused(top.url, "UPSTREAM_UNAVAILABLE", /submodule "lib\/mid\/deep\/inner": /);
    await rename(`${inner.url}.away`, inner.url);
    const held = await client.acquire({ repository: top.url });
    expect(await problemOf(top.url)).toBe("");
    await client.releaseAndClean(held);

    const missing = await crafted(section("sub", mid.url));
    await expectRefused(missing.url, "REVISION_NOT_FOUND", /"sub": no branch or tag of its upstream reaches/);

    const loose = await inner.git("commit-tree", "-m", "On no branch", "HEAD^{tree}");
    await git(inner.url, "fetch", "--quiet", join(inner.url, "..", "inner.work"), `${loose}`).catch(() => {});
    const unreached = await crafted(section("sub", inner.url), "sub", loose);
    await expectRefused(unreached.url, "REVISION_NOT_FOUND", /"sub"/);

    const own = await Upstream.make(root, "own");
    await addSubmodule(own, own, "../own.git", "self");
    await expectRefused(own.url, "UPSTREAM_NOT_ALLOWED", /submodule of itself/);
  });

  it("G1 an upstream that wants a credential is UPSTREAM_DENIED, and gets only the one of its own URL", async () => {
    const directory = join(root, "guarded");
    const secret = await Upstream.make(directory, "sub");
    const guarded = await serveGit(directory, { user: "robot", password: "hunter2" });
    servers.atEnd(() => guarded.close());
    const upstream = await crafted(section("sub", guarded.url("sub")), "sub", await secret.git("rev-parse", "HEAD"));
    const other = await servers.directory();
    await writeFile(join(other, "password"), "hunter2\n");
    const config = (prefix: string) =>
      `credentials:\n  - { name: one, url_prefix: "${prefix}", username: robot, password_file: ${join(other, "password")} }\n`;
    await writeFile(join(other, "wrong.yaml"), config("http://127.0.0.1:1/"));
    await writeFile(join(other, "right.yaml"), config(guarded.url("sub")));
    const wrong = await servers.start({ flags: ["--config", join(other, "wrong.yaml")] });
    const refused = await refusal(wrong.client.acquire({ repository: upstream.url }));
    expect(refused).toMatchObject({ code: Code.FailedPrecondition, reason: "UPSTREAM_DENIED" });
    const right = await servers.start({ flags: ["--config", join(other, "right.yaml")] });
    const held = await right.client.acquire({ repository: upstream.url });
    expect(await readdir(join(held.path, "sub"))).toContain("README.md");
    expect(await git(held.path, "grep", "--no-index", "-l", "hunter2").catch(() => "")).toBe("");
  });

  it("G1 workspaces ahead of time are not made half, and are made once it can be had", async () => {
    const directory = join(root, "ahead");
    await mkdir(directory);
    const { inner, top } = await nestedSubmodules(directory);
    await rename(inner.url, `${inner.url}.away`);
    await client.admin.registerRepository({ repository: { name: "ahead", url: top.url, minIdle: 1 } });
    await until("the problem is told", async () => /deep\/inner/.test(await problemOf(top.url)));
    const idle = async () => (await client.admin.listRepositories({})).repositories.find((one) => one.name === "ahead");
    expect((await idle())?.workspaces?.idle ?? 0).toBe(0);
    await rename(`${inner.url}.away`, inner.url);
    await client.acquire({ repository: "ahead" });
  });
});
