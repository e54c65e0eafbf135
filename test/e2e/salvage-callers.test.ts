/** Who may see, restore and discard salvages, and how they do it from the command line. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { connect } from "../../src/client/index.js";
import { leasehold } from "../support/command-line.js";
import { refusal } from "../support/rpc-client.js";
import { type ServerProcess, useServers } from "../support/server.js";
import { expectFiles, workUnsaved } from "../support/unsaved.js";
import { Upstream } from "../support/upstream.js";

const servers = useServers();
let server: ServerProcess;
let root: string;
let upstream: Upstream;
const callers = { ops: "admin", one: "runner", two: "runner" };
type Caller = keyof typeof callers;

beforeAll(async () => {
  root = await servers.directory();
  upstream = await Upstream.make(root, "demo");
  const tokens = join(root, "tokens.yaml");
  const entries = Object.entries(callers).map(
    ([caller, role]) =>
      `- { caller: ${caller}, role: ${role}, sha256: ${createHash("sha256").update(caller).digest("hex")} }\n`,
  );
  await writeFile(tokens, entries.join(""), { mode: 0o600 });
  server = await servers.start({ flags: ["--tokens-file", tokens, "--allow-local"] });
  await as("ops").admin.registerRepository({ repository: { name: "demo", url: upstream.url } });
});

function as(caller: Caller) {
  const client = connect({ address: server.address, token: caller });
  servers.atEnd(() => client.close());
  return client;
}

/** What a caller left, as a salvage. */
async function leave(caller: Caller) {
  const { response } = await as(caller).acquireOnly({ repository: "demo", holder: `holder ${caller}` });
  await workUnsaved({ path: response.workspace?.path ?? "" }, caller);
  const proof = { leaseId: response.lease?.leaseId ?? "", token: response.leaseToken };
  const { salvage } = await as(caller).release({ ...proof, waitForClean: true });
  if (!salvage) throw new Error("nothing was salvaged");
  return salvage;
}

it("G2 G5 a runner sees and restores what its own leases left, and discards nothing", { timeout: 60_000 }, async () => {
  const [mine, other] = [await leave("one"), await leave("two")];
  const ids = async (caller: Caller) =>
    (await as(caller).admin.listSalvages({})).salvages.map(({ salvageId }) => salvageId);
  expect(await ids("one")).toEqual([mine.salvageId]);
  expect(await ids("two")).toEqual([other.salvageId]);
  expect(await ids("ops")).toEqual([mine.salvageId, other.salvageId]);
  expect((await as("one").admin.listSalvages({ salvageId: other.salvageId })).salvages).toEqual([]);
  const stolen = as("one").workspaces.acquire({ repository: "demo", restoreSalvageId: other.salvageId });
  expect(await refusal(stolen)).toMatchObject({ reason: "SALVAGE_NOT_FOUND" });
  const request = { repository: "demo", restoreSalvageId: other.salvageId, requestId: "steal" };
  expect(await refusal(as("one").workspaces.acquire(request))).toMatchObject({ reason: "SALVAGE_NOT_FOUND" });
  expect(await refusal(as("one").admin.discardSalvage({ salvageId: mine.salvageId }))).toMatchObject({
    reason: "ROLE_REQUIRED",
  });
  await using lease = await as("one").acquire({ repository: "demo", restoreSalvageId: mine.salvageId });
  await expectFiles(lease.path, "one");
});

it("G2 the command line lists, shows, restores and discards", { timeout: 120_000 }, async () => {
  const { salvageId, ref, repositoryPath } = await leave("two");
  const run = (...args: string[]) => leasehold(server.address, args, { LEASEHOLD_TOKEN: "ops" });
  const list = await run("salvage", "list", "--repository", "demo", "--holder", "holder two");
  expect(list.stdout).toMatch(new RegExp(`^${salvageId} +demo +holder two +RELEASED`, "m"));
  const json = JSON.parse((await run("salvage", "list", "-o", "json")).stdout);
  expect(json.salvages.map((salvage: { salvageId: string }) => salvage.salvageId)).toContain(salvageId);
  const shown = await run("salvage", "show", salvageId);
  expect(shown.stdout).toContain(`git fetch ${repositoryPath} ${ref}`);
  const restored = await run("salvage", "restore", salvageId, "--holder", "again", "-o", "json");
  const answer = JSON.parse(restored.stdout);
  await expectFiles(answer.workspace.path, "two");
  expect(answer.lease.holder).toBe("again");
  const given = ["release", answer.lease.leaseId, "--lease-token", answer.leaseToken, "--wait-for-clean"];
  expect((await run(...given)).stdout).toMatch(/^salvage +s\d+\.\d+$/m);
  const ran = await run("run", "-r", "demo", "--restore-salvage", salvageId, "--", "cat", "notes.txt");
  expect(ran).toMatchObject({ status: 0, stdout: "untracked two\n" });
  expect(await run("salvage", "discard", salvageId)).toMatchObject({ status: 0, stdout: "" });
  expect(await run("salvage", "show", salvageId)).toMatchObject({ status: 3, stdout: "" });
  expect(await run("salvage", "restore", salvageId)).toMatchObject({ status: 3 });
  expect(await run("salvage", "discard", salvageId)).toMatchObject({ status: 3 });
  expect((await run("salvage", "list", "--lease", "w999.1")).stderr).toContain("no salvages");
});
