/** Whose dependencies are whose, and how they are used from the command line and the client. */
import { createHash } from "node:crypto";
import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { WorkspaceState } from "../../gen/leasehold/v1/workspace_pb.js";
import { connect } from "../../src/client/index.js";
import { leasehold } from "../support/command-line.js";
import { makeUpstream, wishes, write } from "../support/dependencies.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { until } from "../support/until.js";
import type { Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let upstream: Upstream;
const callers = { ops: "admin", one: "runner", two: "runner" };
type Caller = keyof typeof callers;

beforeAll(async () => {
  const root = await servers.directory();
  upstream = await makeUpstream(root, "demo");
  const tokens = join(root, "tokens.yaml");
  const entries = Object.entries(callers).map(
    ([caller, role]) =>
      `- { caller: ${caller}, role: ${role}, sha256: ${createHash("sha256").update(caller).digest("hex")} }\n`,
  );
  await writeFile(tokens, entries.join(""), { mode: 0o600 });
  server = await servers.start({ flags: ["--tokens-file", tokens, "--allow-local"] });
});

function as(caller: Caller) {
  const client = connect({ address: server.address, token: caller });
  servers.atEnd(() => client.close());
  return client;
}

/** Leases, installs if need be, gives back. Answers what was there. */
async function install(caller: Caller, repository = "demo"): Promise<{ state: string; cachePath: string }> {
  const lease = await as(caller).acquire({ repository, ...wishes });
  const { dependencies } = lease;
  if (!dependencies) throw new Error("no dependencies");
  if (dependencies.state !== "READY") await write(lease.path, { "node_modules/x.js": caller });
  await lease.release({ dependenciesInstalled: true, waitForClean: true });
  return dependencies;
}

/** What was released is kept when its workspace is clean. */
async function clean(): Promise<void> {
  const states = [WorkspaceState.CLEANING];
  await until("all is clean", async () => (await as("ops").workspaces.listActive({ states })).workspaces.length === 0);
}

it("A7 G5 another caller gets none, unless the repository shares them", { timeout: 60_000 }, async () => {
  await as("ops").admin.registerRepository({ repository: { name: "demo", url: upstream.url } });
  const mine = await install("one");
  const theirs = await install("two");
  expect([mine.state, theirs.state]).toEqual(["MISSING", "MISSING"]);
  expect(theirs.cachePath).not.toBe(mine.cachePath);
  expect((await install("one")).state).toBe("READY");
  await as("ops").admin.updateRepository({
    name: "demo",
    repository: { shareDependencies: true },
    updateMask: { paths: ["share_dependencies"] },
  });
  const shared = await install("ops");
  expect(shared.state).toBe("READY");
  expect((await install("two")).cachePath).toBe(shared.cachePath);
});

it("A7 the client marks what it installed with a heartbeat", { timeout: 60_000 }, async () => {
  const options = { repository: "demo", ...wishes, environment: { by: "heartbeat" } };
  const first = await as("one").acquire(options);
  expect(first.dependencies?.state).toBe("CHANGED");
  expect(first.dependencies?.changedManifests).toEqual([]);
  await write(first.path, { "node_modules/x.js": "x" });
  await first.heartbeat({ dependenciesInstalled: true });
  await first.release({ waitForClean: true });
  await using second = await as("one").acquire(options);
  expect(second.dependencies).toEqual({ ...first.dependencies, state: "READY" });
});

it("A7 a mark counts only while the manifests are the commit's, also if they are put back", {
  timeout: 60_000,
}, async () => {
  const options = { repository: "demo", ...wishes, environment: { by: "mischief" } };
  const lease = await as("one").acquire(options);
  await write(lease.path, { "node_modules/x.js": "x", "package.json": "{}" });
  await lease.heartbeat({ dependenciesInstalled: true });
  await write(lease.path, { "package.json": '{ "name": "demo" }\n' });
  await lease.release({ waitForClean: true });
  await using next = await as("one").acquire(options);
  expect(next.dependencies?.state).not.toBe("READY");
});

it("A7 the command line installs once, and tells the command what is there", { timeout: 120_000 }, async () => {
  const run = (...args: string[]) => leasehold(server.address, args, { LEASEHOLD_TOKEN: "two" });
  const flags = [
    ...["-r", "demo", "--dependency-manifest", "package.json", "--dependency-manifest", "packages/**"],
    ...["--environment", "node=22", "--keep-path", "node_modules"],
  ];
  const script = `mkdir -p node_modules && echo $LEASEHOLD_DEPENDENCIES > node_modules/how`;
  const show =
    'cat node_modules/how; echo "$LEASEHOLD_DEPENDENCIES $LEASEHOLD_FINGERPRINT"; test -d "$LEASEHOLD_DEPENDENCY_CACHE"';
  const first = await run("run", ...flags, "--install", script, "--", "sh", "-c", show);
  expect(first).toMatchObject({ status: 0, stderr: expect.any(String) });
  expect(first.stdout).toMatch(/^(MISSING|CHANGED)\n\1 [0-9a-f]{64}\n$/);
  await clean();
  const second = await run("run", ...flags, "--install", script, "--", "sh", "-c", show);
  expect(second.stdout).toBe(first.stdout.replace(/\n(MISSING|CHANGED) /, "\nREADY "));
  // what fails is neither marked nor followed by the command
  const other = flags.map((flag) => (flag === "node=22" ? "node=24" : flag));
  const failed = await run("run", ...other, "--install", "mkdir node_modules; exit 7", "--", "echo", "ran");
  expect(failed).toMatchObject({ status: 7, stdout: "" });
  const wrong = await run("run", "-r", "demo", "--install", "true", "--", "true");
  expect(wrong.stderr).toContain("--install needs --keep-path");

  await clean();
  const acquired = await run("acquire", ...other);
  expect(acquired.stdout).toMatch(/^dependencies +(MISSING|CHANGED)$/m);
  const held = JSON.parse((await run("acquire", ...other, "-o", "json")).stdout);
  const proof = [held.lease.leaseId, "--lease-token", held.leaseToken];
  await write(held.workspace.path, { "node_modules/how": "by hand\n" });
  expect(await run("heartbeat", ...proof, "--dependencies-installed")).toMatchObject({ status: 0 });
  expect(await run("release", ...proof, "--dependencies-installed", "--wait-for-clean")).toMatchObject({ status: 0 });
  await access(held.dependencies.cachePath);
  const third = await run("run", ...other, "--", "cat", "node_modules/how");
  expect(third.stdout).toBe("by hand\n");
});
