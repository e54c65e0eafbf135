/** Git LFS: a workspace has the contents, as git-lfs would have put them, or the Acquire says why not. */
import { createHash } from "node:crypto";
import { lstat, mkdir, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { VerificationOutcome } from "../../gen/leasehold/v1/admin_service_pb.js";
import { type LfsOptions, type LfsServer, pointerOf, serveLfs } from "../support/lfs-server.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { addSubmodule } from "../support/submodules.js";
import { salvagesOf } from "../support/unsaved.js";
import { until } from "../support/until.js";
import { git, Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let web: LfsServer;
let made = 0;

const big = `${"big ".repeat(50_000)}end`;
const attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\nplain.bin -filter\n";

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

/** A repository with two contents, and one that only looks like one. Answers its name on the servers. */
async function withContents(
  on = web,
  more: Readonly<Record<string, string>> = {},
): Promise<{ name: string; upstream: Upstream }> {
  const name = `lfs-${++made}`;
  const upstream = await Upstream.make(root, name, {
    ".gitattributes": attributes,
    "big.bin": on.add(big),
    "deep/small.bin": on.add("small"),
    "plain.bin": pointerOf("not to be fetched"),
    "other.txt": pointerOf("not to be fetched either"),
    ...more,
  });
  return { name, upstream };
}

const oidOf = (content: string) => createHash("sha256").update(content).digest("hex");
const storedIn = (path: string, content: string) => {
  const oid = oidOf(content);
  return readFile(join(path, ".git/lfs/objects", oid.slice(0, 2), oid.slice(2, 4), oid), "utf8");
};

/** Files, objects, and what a git whose LFS filter is the real one's would say. */
async function expectContents(path: string, contents: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, content] of Object.entries(contents)) {
    expect(await readFile(join(path, name), "utf8")).toBe(content);
    expect(await storedIn(path, content)).toBe(content);
    expect((await lstat(join(path, name))).nlink).toBe(1);
  }
  expect(await git(path, "status", "--porcelain", "--ignored")).toBe("");
  // every file by its content, through a filter that does what git-lfs does
  const clean =
    'f() { t=$(mktemp); cat >"$t"; printf "version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize %s\\n" $(sha256sum <"$t" | cut -c1-64) $(stat -c %s "$t"); rm "$t"; }; f';
  await git(path, "read-tree", "HEAD");
  expect(await git(path, "-c", `filter.lfs.clean=${clean}`, "status", "--porcelain")).toBe("");
}

describe("a repository that uses Git LFS", { timeout: 60_000 }, () => {
  it("A5 has its contents in every lease, and what a holder did to them is neither left nor lost", async () => {
    const { name, upstream } = await withContents();
    const url = web.url(name);
    const first = await client.acquire({ repository: url });
    await expectContents(first.path, { "big.bin": big, "deep/small.bin": "small" });
    expect(await readFile(join(first.path, "plain.bin"), "utf8")).toBe(pointerOf("not to be fetched"));
    expect(await readFile(join(first.path, "other.txt"), "utf8")).toBe(pointerOf("not to be fetched either"));
    await utimes(join(first.path, "big.bin"), 1, 1);
    await client.releaseAndClean(first);
    expect(await salvagesOf(client, { leaseId: first.leaseId })).toEqual([]);

    const second = await client.acquire({ repository: url });
    expect(second.workspaceId).toBe(first.workspaceId);
    await expectContents(second.path, { "big.bin": big, "deep/small.bin": "small" });
    await writeFile(join(second.path, "big.bin"), "changed by its holder");
    const own = oidOf("never pushed");
    await mkdir(join(second.path, ".git/lfs/objects", own.slice(0, 2), own.slice(2, 4)), { recursive: true });
    await writeFile(join(second.path, ".git/lfs/objects", own.slice(0, 2), own.slice(2, 4), own), "never pushed");
    await rm(join(second.path, "deep"), { recursive: true });
    await client.releaseAndClean(second);
    const [salvage] = await salvagesOf(client, { leaseId: second.leaseId });
    const shown = (path: string) => git(salvage?.repositoryPath ?? "", "show", `${salvage?.commit}:${path}`);
    expect(await shown("big.bin")).toBe("changed by its holder");
    expect(await shown(`.git.salvaged/lfs/objects/${own.slice(0, 2)}/${own.slice(2, 4)}/${own}`)).toBe("never pushed");

    await upstream.commit({ "deep/small.bin": web.add("smaller"), "deep/new.bin": web.add("new") });
    const third = await client.acquire({ repository: url });
    await expectContents(third.path, { "big.bin": big, "deep/small.bin": "smaller", "deep/new.bin": "new" });
    await client.releaseAndClean(third);
    const { results } = await client.admin.verifyWorkspaces({ repository: third.answer.workspace?.repository ?? "" });
    expect(results.map(({ outcome, findings }) => [outcome, findings])).toEqual([[VerificationOutcome.PRISTINE, []]]);
  });

  it("A5 a commit that its holder did not push is saved with the content that it names", async () => {
    const { name } = await withContents();
    const held = await client.acquire({ repository: web.url(name) });
    await writeFile(join(held.path, "big.bin"), pointerOf("committed"));
    await git(held.path, "commit", "--quiet", "--all", "--message", "As git-lfs commits");
    await writeFile(join(held.path, "big.bin"), "committed");
    await client.releaseAndClean(held);
    const [salvage] = await salvagesOf(client, { leaseId: held.leaseId });
    expect(await git(salvage?.repositoryPath ?? "", "show", `${salvage?.commit}:big.bin`)).toBe("committed");
  });

  it("A5 has them in a submodule too, and where the upstream is a directory of this machine", async () => {
    const { name, upstream } = await withContents();
    const top = await Upstream.make(root, `top-${++made}`);
    await addSubmodule(top, upstream, `../${name}.git`, "sub");
    const held = await client.acquire({ repository: web.url(`top-${made}`) });
    expect(await readFile(join(held.path, "sub/big.bin"), "utf8")).toBe(big);
    expect(await git(held.path, "status", "--porcelain", "--ignored")).toBe("");
    await client.releaseAndClean(held);
    expect(await salvagesOf(client, { leaseId: held.leaseId })).toEqual([]);

    for (const content of [big, "small"]) {
      const oid = oidOf(content);
      const directory = join(upstream.url, "lfs/objects", oid.slice(0, 2), oid.slice(2, 4));
      await mkdir(directory, { recursive: true });
      await writeFile(join(directory, oid), content);
    }
    const local = await client.acquire({ repository: upstream.url });
    await expectContents(local.path, { "big.bin": big, "deep/small.bin": "small" });
  });
});

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
    const { name } = await withContents();
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
      const { name: other } = await withContents(bad);
      await expectRefused(bad.url(other), "UPSTREAM_UNAVAILABLE", /Git LFS/);
    }
  });

  it("G1 a .lfsconfig or a redirect to another host: it is not asked, or gets no credential", async () => {
    const elsewhere = await serve({});
    elsewhere.add(big);
    elsewhere.add("small");
    const { name } = await withContents(web, { ".lfsconfig": `[lfs]\n\turl = ${elsewhere.origin}/x\n` });
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
    const { name: second } = await withContents(batch);
    await expectRefused(batch.url(second), "UPSTREAM_UNAVAILABLE", /Git LFS|redirects/, configured.client);
    expect(elsewhere.requests).toEqual([]);

    const { name: third } = await withContents(downloads);
    const held = await configured.client.acquire({ repository: downloads.url(third) });
    await expectContents(held.path, { "big.bin": big, "deep/small.bin": "small" });
    expect(elsewhere.requests.length).toBe(2);
    expect(elsewhere.requests.join()).not.toMatch(/Basic/);
  });

  it("G1 a server that wants a credential is UPSTREAM_DENIED", async () => {
    const { name } = await withContents();
    const denying = await serve({ status: 401 });
    await expectRefused(denying.url(name), "UPSTREAM_DENIED", /credential/);
  });
});
