/** Git LFS: where contents cannot be had, the Acquire says why not; a credential goes to its own host alone. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { big, expectContents, withContents } from "../support/lfs-contents.js";
import { type LfsOptions, type LfsServer, serveLfs } from "../support/lfs-server.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let web: LfsServer;

beforeAll(async () => {
  root = await servers.directory();
  web = await serve({});
  server = await servers.start();
  client = server.client;
});

async function serve(options: LfsOptions): Promise<LfsServer> {
  const served = await serveLfs(root, options);
  servers.atEnd(() => served.close());
  return served;
}

describe("contents that cannot be had", { timeout: 60_000 }, () => {
  async function expectRefused(url: string, reason: string, words: RegExp, by = client): Promise<void> {
    const refused = await refusal(by.acquire({ repository: url }));
    expect(refused).toMatchObject({ reason });
    expect(refused.message).toMatch(/uses Git LFS \(2 files\), which could not be had: /);
    expect(refused.message).toMatch(words);
    await until("the problem is told", async () => {
      const { repositories } = await by.admin.listRepositories({});
      return words.test(repositories.find((repository) => repository.url === url)?.problem ?? "");
    });
  }

  it("G1 one that is missing, wrong, longer, or a server that fails", async () => {
    const { name } = await withContents(root, web);
    web.remove("small");
    await expectRefused(web.url(name), "UPSTREAM_UNAVAILABLE", /does not have|Git LFS/);
    const stored = await readdir(join(server.dataDir, "mirrors"), { recursive: true });
    expect(stored.filter((path) => path.includes("incoming"))).toEqual([]);
    web.add("small");
    await client.acquire({ repository: web.url(name) });
    const longer = (content: Buffer) => Buffer.concat([content, Buffer.from("!")]);
    const other = (content: Buffer) => Buffer.alloc(content.length, "x");
    for (const options of [{ instead: longer }, { instead: other }, { status: 500 }]) {
      const bad = await serve(options);
      const { name: other } = await withContents(root, bad);
      await expectRefused(bad.url(other), "UPSTREAM_UNAVAILABLE", /Git LFS/);
    }
  });

  it("G1 a .lfsconfig or a redirect to another host: it is not asked, or gets no credential", async () => {
    const elsewhere = await serve({});
    elsewhere.add(big);
    elsewhere.add("small");
    const { name } = await withContents(root, web, { ".lfsconfig": `[lfs]\n\turl = ${elsewhere.origin}/x\n` });
    await expectRefused(web.url(name), "UPSTREAM_NOT_ALLOWED", /another host/);
    const directory = await servers.directory();
    await writeFile(join(directory, "password"), "hunter2\n");
    const login = { user: "robot", password: "hunter2" };
    const batch = await serve({ ...login, batchAt: elsewhere.origin });
    const downloads = await serve({ ...login, downloadsAt: elsewhere.origin });
    const prefixes = [batch.origin, downloads.origin];
    const entries = prefixes.map(
      (prefix, at) =>
        `  - { name: c${at}, url_prefix: "${prefix}/", username: robot, password_file: ${join(directory, "password")} }\n`,
    );
    await writeFile(join(directory, "leasehold.yaml"), `credentials:\n${entries.join("")}`);
    const configured = await servers.start({ flags: ["--config", join(directory, "leasehold.yaml")] });
    const { name: second } = await withContents(root, batch);
    await expectRefused(batch.url(second), "UPSTREAM_UNAVAILABLE", /Git LFS|redirects/, configured.client);
    expect(elsewhere.requests).toEqual([]);

    const { name: third } = await withContents(root, downloads);
    const held = await configured.client.acquire({ repository: downloads.url(third) });
    await expectContents(held.path, { "big.bin": big, "deep/small.bin": "small" });
    expect(elsewhere.requests.length).toBe(2);
    expect(elsewhere.requests.join()).not.toMatch(/Basic/);
  });

  it("G1 a server that wants a credential is UPSTREAM_DENIED", async () => {
    const { name } = await withContents(root, web);
    const denying = await serve({ status: 401 });
    await expectRefused(denying.url(name), "UPSTREAM_DENIED", /credential/);
  });
});
