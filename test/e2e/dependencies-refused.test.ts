/** What a lease installed is not kept where it may not be. */
import { spawn } from "node:child_process";
import { access, mkdir, readdir, readFile, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { EventKind } from "../../gen/leasehold/v1/event_pb.js";
import { acquireWith, giveBack, installOnce, makeUpstream, stateOf, write } from "../support/dependencies.js";
import { type Client, refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import { git, type Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let client: Client;
let root: string;
let repositories = 0;
let name: string;
let upstream: Upstream;

beforeAll(async () => {
  root = await servers.directory();
  server = await servers.start();
  client = server.client;
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

it.each<[string, (path: string) => Promise<unknown>]>([
  ["a path that is a symlink", async (path) => symlink(root, join(path, "node_modules"))],
  [
    "a manifest that was edited",
    (path) => write(path, { "node_modules/x.js": "x", "package.json": '{ "name": "other" }\n' }),
  ],
  [
    "a manifest that was removed",
    async (path) => {
      await write(path, { "node_modules/x.js": "x" });
      await rm(join(path, "package-lock.json"));
    },
  ],
  [
    "a manifest that was added",
    (path) => write(path, { "node_modules/x.js": "x", "packages/new/package.json": "{}\n" }),
  ],
  [
    "a manifest that became a symlink",
    async (path) => {
      await write(path, { "node_modules/x.js": "x", "cache/package.json": '{ "name": "demo" }\n' });
      await rm(join(path, "package.json"));
      await symlink("cache/package.json", join(path, "package.json"));
    },
  ],
])("A7 %s", async (_what, mischief) => {
  const held = await acquireWith(client, name);
  await mischief(held.path);
  await giveBack(client, held, true);
  expect(await sets()).toEqual([]);
  expect(stateOf(await acquireWith(client, name))).toBe("MISSING");
});

it("A7 a path below a symlink, one that is tracked, one with tracked files, one that is not ignored", async () => {
  await upstream.commit({ "cache/readme.txt": "tracked\n", "notes.log": "tracked\n" }, "Track").catch(() => undefined);
  await upstream.git("add", "--force", "cache/readme.txt", "notes.log");
  await upstream.commit({ "src/other.txt": "x" });
  const outside = await servers.directory();
  await write(outside, { "node_modules/secret.txt": "outside\n" });
  const tries: [string, (path: string) => Promise<unknown>][] = [
    ["cache", (path) => write(path, { "cache/more.txt": "x" })],
    ["notes.log", async () => {}],
    ["src/main.txt", (path) => write(path, { "src/main.txt": "one\n" })],
    ["build", (path) => write(path, { "build/x.log": "x" })],
    [
      "packages/a/node_modules",
      async (path) => {
        await rm(join(path, "packages/a"), { recursive: true });
        await symlink(outside, join(path, "packages/a"));
        await mkdir(join(path, "node_modules"), { recursive: true });
      },
    ],
  ];
  for (const [path, mischief] of tries) {
    const held = await acquireWith(client, name, {
      dependencyManifests: ["package.json"],
      keepPaths: [path, ".venv"],
    });
    await write(held.path, { ".venv/x.py": "x" });
    await mischief(held.path);
    await giveBack(client, held, true);
    expect([path, await sets()]).toEqual([path, []]);
  }
  expect(await readFile(join(outside, "node_modules/secret.txt"), "utf8")).toBe("outside\n");
});

it("A7 is not put where the commit no longer ignores it, and not lost by that", async () => {
  await installOnce(client, name);
  await upstream.commit({ ".gitignore": "*.log\n" });
  const held = await acquireWith(client, name, { revision: "main" });
  expect(stateOf(held)).toBe("MISSING");
  expect(await git(held.path, "status", "--porcelain", "--ignored")).toBe("");
  await giveBack(client, held);
  expect(stateOf(await acquireWith(client, name, { revision: await upstream.git("rev-parse", "HEAD~1") }))).toBe(
    "READY",
  );
});

it("A7 a workspace that a process still uses gives nothing", async () => {
  const held = await acquireWith(client, name);
  await write(held.path, { "node_modules/x.js": "x" });
  const straggler = spawn("sleep", ["60"], { cwd: join(held.path, "node_modules") });
  await until("it runs there", () => straggler.pid !== undefined);
  await client.release(held, { dependenciesInstalled: true, waitForClean: true });
  straggler.kill("SIGKILL");
  expect(await sets()).toEqual([]);
});

it("A7 what is kept of a repository goes with it", async () => {
  await installOnce(client, name);
  expect(await sets()).toHaveLength(1);
  await client.admin.removeRepository({ name });
  await until("the directory is gone", async () => !(await isThere(join(server.dataDir, "dependencies", name))));
});

it("A7 B3 a wish for more manifests than there may be is told by its field, and takes no workspace out of the pool", {
  timeout: 60_000,
}, async () => {
  await upstream.git("checkout", "--quiet", "-b", "many");
  const many = Array.from({ length: 5_001 }, (_, n) => [`many/${n}.txt`, ""]);
  await upstream.commit(Object.fromEntries(many));
  await client.releaseAndClean(await client.acquire({ repository: name }));
  const wish = { repository: name, revision: "many", dependencyManifests: ["**"] };
  const kinds = async () => (await client.events(1n, { repository: name })).map(({ kind }) => kind);
  const before = await kinds();
  const refused = await refusal(client.acquire({ ...wish, waitMs: 1_000 }));
  expect(refused).toMatchObject({ reason: "FIELD_INVALID", fields: ["dependency_manifests"] });
  expect(await kinds()).toEqual(before);
  // a binding's files are not asked for manifests when they come back, so it is told when its workspace is made
  const bound = { ...wish, binding: "desk" };
  expect(await refusal(client.acquire(bound))).toMatchObject({
    reason: "FIELD_INVALID",
    fields: ["dependency_manifests"],
  });
  // granted once, given back once
  const claimed = (await kinds()).slice(before.length).filter((kind) => kind === EventKind.WORKSPACE_CLAIMED);
  expect(claimed).toHaveLength(2);
  await until("none is out of the pool", async () => {
    const [repository] = (await client.admin.listRepositories({ name })).repositories;
    return repository?.workspaces?.idle === 1;
  });
});
