import { createHash } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { ObjectStorage, RepositorySchema, RepositoryState } from "../../gen/leasehold/v1/repository_pb.js";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { WatchResponseSchema } from "../../gen/leasehold/v1/workspace_service_pb.js";
import { leasehold, start, temporaryDirectory } from "../support/command-line.js";
import { draining, type Script, serveScript, workspaceOf } from "../support/scripted-server.js";

async function against(script: Script, args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  await using server = await serveScript(script);
  return await leasehold(server.address, args, environment);
}

const demo = create(RepositorySchema, {
  ...{ name: "demo", url: "https://git.example.com/demo.git", state: RepositoryState.MIRRORING, maxWorkspaces: 100 },
  progress: { receivedObjects: 50n, totalObjects: 200n },
});

test("repository add and update send exactly what was named", async () => {
  const asked: unknown[] = [];
  const admin: Script["admin"] = {
    registerRepository: (request) => {
      asked.push(request.repository);
      return { repository: demo };
    },
    updateRepository: (request) => {
      asked.push([request.name, request.updateMask?.paths, request.repository]);
      return { repository: demo };
    },
  };
  const settings = ["--min-idle", "2", "--max-workspaces", "9", "--stable-path", "--label", "a=b"];
  const more = [
    "--object-storage",
    "copy",
    "--kill-stragglers",
    "--salvage-ignored",
    "/.env",
    "--salvage-ignored",
    "*.{a,b}",
  ];
  const added = await against({ admin }, ["repository", "add", demo.url, "--name", "demo", ...settings, ...more]);
  expect(added.stdout).toMatch(/^state +MIRRORING 25%$/m);
  expect(added.status).toBe(0);
  const changes = ["--max-workspaces", "0", "--no-stable-path", "--no-paused", "--no-label", "--url", "https://x/y"];
  const moreChanges = ["--no-kill-stragglers", "--no-salvage-ignored", "--share-dependencies"];
  const changed = await against({ admin }, ["repository", "update", "demo", ...changes, ...moreChanges, "-o", "json"]);
  expect(JSON.parse(changed.stdout).repository).toMatchObject({ name: "demo", state: "REPOSITORY_STATE_MIRRORING" });
  expect(asked).toMatchObject([
    {
      ...{
        url: demo.url,
        name: "demo",
        minIdle: 2,
        maxWorkspaces: 9,
        stablePath: true,
        paused: false,
        labels: { a: "b" },
      },
      ...{ objectStorage: ObjectStorage.COPY, killStragglers: true, salvageIgnored: ["/.env", "*.{a,b}"] },
    },
    [
      "demo",
      [
        ...["max_workspaces", "stable_path", "labels", "paused"],
        ...["kill_stragglers", "salvage_ignored", "share_dependencies", "url"],
      ],
      {
        ...{ maxWorkspaces: 0, stablePath: false, paused: false, labels: {}, url: "https://x/y" },
        ...{ killStragglers: false, salvageIgnored: [], shareDependencies: true },
      },
    ],
  ]);
});

test("repository list, remove and refresh, host list and remove", async () => {
  const removed: unknown[] = [];
  const admin: Script["admin"] = {
    listRepositories: (request) => ({
      repositories: [{ ...demo, problem: "no route" }],
      nextPageToken: request.pageToken ? "" : "p",
    }),
    removeRepository: (request) => {
      removed.push([request.name, request.force]);
      return {};
    },
    refreshMirror: () => ({ repository: demo, changed: true }),
    listHosts: () => ({ hosts: [{ name: "here", owned: true, leases: 2, workspaces: 5 }] }),
    removeHost: (request) => {
      removed.push([request.name, request.force]);
      return {};
    },
  };
  const list = await against({ admin }, ["repository", "list"]);
  expect(list.stdout.match(/^demo +MIRRORING 25% .* https:\/\/git\.example\.com\/demo\.git$/gm)).toHaveLength(2);
  expect(list.stderr).toContain("demo: no route");
  expect((await against({ admin }, ["repository", "refresh", "demo"])).stdout).toMatch(/^changed +yes$/m);
  expect((await against({ admin }, ["host", "list"])).stdout).toMatch(/^here +yes +never +2 +5$/m);
  expect(await against({ admin }, ["repository", "remove", "demo", "--force"])).toMatchObject({
    status: 0,
    stdout: "",
  });
  expect(await against({ admin }, ["host", "remove", "gone"])).toMatchObject({ status: 0, stdout: "" });
  expect(removed).toEqual([
    ["demo", true],
    ["gone", false],
  ]);
});

test("watch prints one line of JSON for each item, and goes on after a break", async () => {
  let streams = 0;
  const script: Script = {
    async *watch(request) {
      streams++;
      const base = { storeId: "store-a" };
      if (streams === 1) {
        yield create(WatchResponseSchema, {
          ...base,
          revision: 5n,
          item: { case: "snapshot", value: workspaceOf("/w") },
        });
        yield create(WatchResponseSchema, {
          ...base,
          revision: 5n,
          item: { case: "snapshotEnd", value: { workspaces: 1 } },
        });
        throw draining();
      }
      const revision = request.fromRevision ?? 0n;
      const value = { revision, kind: 4, leaseId: "w17.4", workspaceId: "w17", reason: 2, holder: "me" };
      yield create(WatchResponseSchema, { ...base, revision, item: { case: "event", value } });
      yield create(WatchResponseSchema, { ...base, revision, item: { case: "bookmark", value: {} } });
    },
  };
  const args = ["watch", "--snapshot", "--until-now", "--kind", "lease-ended"];
  const json = await against(script, [...args, "-o", "json"]);
  expect(json.status).toBe(0);
  const lines = json.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines).toMatchObject([
    { revision: "5", storeId: "store-a", snapshot: { workspaceId: "w17" } },
    { revision: "5", snapshotEnd: { workspaces: 1 } },
    { revision: "6", event: { kind: "EVENT_KIND_LEASE_ENDED", reason: "LEASE_END_REASON_EXPIRED" } },
    { revision: "6", bookmark: {} },
  ]);
  expect(json.stderr).toContain("going on where it broke off");

  streams = 0;
  const text = await against(script, args);
  expect(text.stdout).toMatch(/^snapshot {2}w17 {2}IDLE {2}demo\n {5}6 {2}LEASE_ENDED +w17\.4 .*EXPIRED {2}me\n$/);
});

test("watch ends quietly when its reader has seen enough", async () => {
  const script: Script = {
    async *watch(_, context) {
      for (let revision = 1n; !context.signal.aborted; revision++) {
        yield create(WatchResponseSchema, { revision, item: { case: "event", value: { revision } } });
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
  };
  await using server = await serveScript(script);
  const watching = start(server.address, ["watch", "-o", "json"]);
  await watching.printed("\n");
  watching.child.stdout?.destroy();
  expect(await watching.finished).toMatchObject({ status: 0, stderr: "" });
});

test("the token for the server comes from a file or the environment", async () => {
  await using directory = await temporaryDirectory();
  const seen: (string | null)[] = [];
  const script: Script = {
    listActive: (_, context) => {
      seen.push(context.requestHeader.get("authorization"));
      return {};
    },
  };
  const file = join(directory.path, "token");
  await writeFile(file, "from-file\n");
  await against(script, ["list-active", "--token-file", file], { LEASEHOLD_TOKEN: "from-environment" });
  await against(script, ["list-active", "--protocol", "connect"], { LEASEHOLD_TOKEN: "from-environment" });
  await against(script, ["list-active"]);
  expect(seen).toEqual(["Bearer from-file", "Bearer from-environment", null]);
  await writeFile(file, "two words\n");
  expect(await against(script, ["list-active", "--token-file", file])).toMatchObject({ status: 2 });
});

test("token create prints a token once and keeps only its digest, in a file that others cannot read", async () => {
  await using directory = await temporaryDirectory();
  const printed = await leasehold("", ["token", "create", "--caller", "ci"]);
  const digest = (token: string) => createHash("sha256").update(token.trim()).digest("hex");
  expect(parse(printed.stderr)).toEqual([{ caller: "ci", role: "runner", sha256: digest(printed.stdout) }]);
  expect(printed.stdout).toMatch(/^[\w-]{43}\n$/);

  const file = join(directory.path, "tokens.yaml");
  const first = await leasehold("", ["token", "create", "--caller", "ci", "--file", file]);
  await writeFile(file, `# ours\n${await readFile(file, "utf8")}`);
  const second = await leasehold("", ["token", "create", "--caller", "ops", "--role", "admin", "--file", file]);
  const text = await readFile(file, "utf8");
  expect(parse(text)).toEqual([
    { caller: "ci", role: "runner", sha256: digest(first.stdout) },
    { caller: "ops", role: "admin", sha256: digest(second.stdout) },
  ]);
  expect(text).toMatch(/^# ours\n/);
  expect(text).not.toContain(first.stdout.trim());
  expect((await stat(file)).mode & 0o777).toBe(0o600);

  await writeFile(file, "a: mapping\n");
  const refused = await leasehold("", ["token", "create", "--caller", "ci", "--file", file]);
  expect(refused).toMatchObject({ status: 2, stdout: "" });
  expect(await leasehold("", ["token", "create", "--caller", "c i"])).toMatchObject({ status: 2, stdout: "" });
});

test("doctor names what is broken, and only what is essential fails it", async () => {
  await using directory = await temporaryDirectory();
  const file = join(directory.path, "file");
  await writeFile(file, "");
  const well = await leasehold("http://127.0.0.1:1", [
    "doctor",
    "--data-dir",
    join(directory.path, "new"),
    "-o",
    "json",
  ]);
  const checks: { check: string; verdict: string }[] = JSON.parse(well.stdout).checks;
  const verdict = (name: string) => checks.find(({ check }) => check.startsWith(name))?.verdict;
  expect(verdict("Node.js")).toBe("ok");
  expect(verdict("data directory")).toBe("ok");
  expect(verdict("server")).toBe("note");
  expect(well.status).toBe(checks.some((check) => check.verdict === "broken") ? 1 : 0);

  const database = "postgres://user:secret@127.0.0.1:1/none";
  const ill = await leasehold("http://127.0.0.1:1", ["doctor", "--data-dir", file], { DATABASE_URL: database });
  expect(ill.status).toBe(1);
  expect(ill.stdout).toMatch(/^broken +data directory +.*file is not a directory$/m);
  expect(ill.stdout).toMatch(/^broken +Postgres \(DATABASE_URL\) +.*ECONNREFUSED/m);
  expect(ill.stdout + ill.stderr).not.toContain("secret");
});

test("D5 usage tells the room on each host, what each repository takes, and workspaces if they are asked for", async () => {
  const asked: unknown[] = [];
  const admin: Script["admin"] = {
    getUsage: ({ host, includeWorkspaces }) => {
      asked.push([host, includeWorkspaces]);
      const workspaceSizes = [{ workspaceId: "w7", state: WorkspaceState.IDLE, bytes: 2048n }];
      const repositories = [
        {
          repository: "demo",
          mirrorBytes: 1_572_864n,
          workspaceBytes: 2048n,
          workspaces: 2,
          unmeasuredWorkspaces: 1,
          workspaceSizes,
        },
      ];
      const room = { totalBytes: 1n << 40n, freeBytes: 5n << 30n, lowBytes: 100n << 30n, minFreeBytes: 50n << 30n };
      const checkTime = timestampNow();
      return {
        hosts: [{ host: "here", ...room, checkTime, diskLow: true, repositories, trashBytes: 512n, usedBytes: 4096n }],
      };
    },
  };
  const { stdout } = await against({ admin }, ["usage", "--host", "here", "--workspaces"]);
  expect(stdout).toMatch(
    /^here: DISK LOW, 5\.0 GiB of 1\.0 TiB free \(low below 100 GiB, nothing new below 50\.0 GiB\)$/m,
  );
  expect(stdout).toMatch(/^demo +1\.5 MiB +2\.0 KiB in 2 \(1 not measured\) +0 B +0 B/m);
  expect(stdout).toMatch(/^\(trash\) +512 B$/m);
  expect(stdout).toMatch(/^w7 +demo +IDLE +2\.0 KiB/m);
  const json = await against({ admin }, ["usage", "--output", "json"]);
  expect(JSON.parse(json.stdout).hosts[0]).toMatchObject({ host: "here", diskLow: true, freeBytes: String(5n << 30n) });
  expect(asked).toEqual([
    ["here", true],
    ["", false],
  ]);
});
