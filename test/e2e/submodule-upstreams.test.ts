/** Submodules that cannot be had: the Acquire says so, and nothing is checked out half. */
import { mkdir, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, it } from "vitest";
import { serveGit } from "../support/git-http.js";
import { crafted, expectRefused, problemOf, section } from "../support/refused-submodules.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { useServers } from "../support/server.js";
import { addSubmodule, nestedSubmodules } from "../support/submodules.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let client: Client;
let root: string;

beforeAll(async () => {
  root = await servers.directory();
  ({ client } = await servers.start());
});

describe("a submodule that cannot be had", { timeout: 60_000 }, () => {
  it("G1 a vanished upstream, a commit that it has not, one on no branch, and a submodule of itself", async () => {
    const { inner, mid, top } = await nestedSubmodules(join(root, "vanishing"));
    await rename(inner.url, `${inner.url}.away`);
    await expectRefused(client, top.url, "UPSTREAM_UNAVAILABLE", /submodule "lib\/mid\/deep\/inner": /);
    await rename(`${inner.url}.away`, inner.url);
    const held = await client.acquire({ repository: top.url });
    expect(await problemOf(client, top.url)).toBe("");
    await client.releaseAndClean(held);

    const missing = await crafted(root, section("sub", mid.url));
    await expectRefused(client, missing.url, "REVISION_NOT_FOUND", /"sub": no branch or tag of its upstream reaches/);

    const loose = await inner.git("commit-tree", "-m", "On no branch", "HEAD^{tree}");
    await git(inner.url, "fetch", "--quiet", join(inner.url, "..", "inner.work"), `${loose}`).catch(() => {});
    const unreached = await crafted(root, section("sub", inner.url), loose);
    await expectRefused(client, unreached.url, "REVISION_NOT_FOUND", /"sub"/);

    const own = await Upstream.make(root, "own");
    await addSubmodule(own, own, "../own.git", "self");
    await expectRefused(client, own.url, "UPSTREAM_NOT_ALLOWED", /submodule of itself/);
  });

  it("G1 an upstream that wants a credential is UPSTREAM_DENIED, and gets only the one of its own URL", async () => {
    const directory = join(root, "guarded");
    const secret = await Upstream.make(directory, "sub");
    const guarded = await serveGit(directory, { user: "robot", password: "hunter2" });
    servers.atEnd(() => guarded.close());
    const upstream = await crafted(root, section("sub", guarded.url("sub")), await secret.git("rev-parse", "HEAD"));
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
    await until("the problem is told", async () => /deep\/inner/.test(await problemOf(client, top.url)));
    const idle = async () => (await client.admin.listRepositories({})).repositories.find((one) => one.name === "ahead");
    expect((await idle())?.workspaces?.idle ?? 0).toBe(0);
    await rename(`${inner.url}.away`, inner.url);
    await client.acquire({ repository: "ahead" });
  });
});
