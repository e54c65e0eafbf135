/** Submodules that git, or the policy of upstreams, would refuse: the Acquire says so, and nothing is checked out half. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { serveGit } from "../support/git-http.js";
import { crafted, expectRefused, problemOf, section } from "../support/refused-submodules.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;

beforeAll(async () => {
  root = await servers.directory();
  server = await servers.start();
  client = server.client;
});

describe("a .gitmodules that git would refuse", { timeout: 60_000 }, () => {
  it.each([
    ["a name that leads out of .git/modules", section("../../x", "../any.git"), /leads out/],
    ["a URL that is an option", section("sub", "--upload-pack=touch"), /begins with '-'/],
    ["a transport helper", section("sub", "ext::sh"), /scheme/],
    ["a URL with a password", section("sub", "https://user:secret@host.invalid/x.git"), /password/],
    ["no URL", '[submodule "sub"]\n\tpath = sub\n', /no URL/],
    ["a URL that climbs beyond everything", section("sub", `${"../".repeat(40)}x`), /climbs too far/],
  ])("G1 is UPSTREAM_NOT_ALLOWED and the repository's problem: %s", async (_what, gitmodules, words) => {
    const upstream = await crafted(root, gitmodules);
    const { reason, message } = await refusal(client.acquire({ repository: upstream.url }));
    expect(reason).toBe("UPSTREAM_NOT_ALLOWED");
    expect(message).toMatch(words);
    expect(message).not.toContain("secret");
    await until("the problem is told", async () => words.test(await problemOf(client, upstream.url)));
    expect(await readdir(join(server.dataDir, "workspaces")).catch(() => [])).toEqual([]);
  });
});

describe("a submodule of another host", { timeout: 60_000 }, () => {
  it("G1 a local path below a repository of another host is not allowed, nor is file://", async () => {
    const web = await serveGit(root);
    servers.atEnd(() => web.close());
    const secret = await Upstream.make(root, "secret");
    for (const local of [secret.url, `file://${secret.url}`]) {
      const upstream = await crafted(root, section("sub", local), await secret.git("rev-parse", "HEAD"));
      const url = web.url(upstream.url.slice(root.length + 1, -".git".length));
      await expectRefused(client, url, "UPSTREAM_NOT_ALLOWED", /local path/);
    }
  });
});
